"""The legacy design, as a reference to measure against: `python legacy_server.py PORT LOG_FILE`.

A thread per connection, `recv(1024)` taken for one reading, the log file opened and
closed for each, the record shown and flushed as `logging` would, then the answer;
nothing is fsynced. Written from the wire contract, faults included: measure it, don't use it.
"""

import socket
import sys
import threading
import time
from pathlib import Path

ANSWER = b"Dados recebidos com sucesso."
BACKLOG = 4096  # the legacy server's is shorter, but rejected connections are not measured


def record(log_file: Path, text: str) -> None:
    """Show a record and append it to the log file."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} - {text}"
    print(line, flush=True)
    with log_file.open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def handle(connection: socket.socket, address: tuple[str, int], log_file: Path) -> None:
    """Serve one connection until its end, in its own thread."""
    try:
        while data := connection.recv(1024):
            record(log_file, f"Recebido de {address}: {data.decode()}")
            connection.sendall(ANSWER)
    except OSError as error:
        record(log_file, f"Erro com {address}: {error}")
    finally:
        connection.close()
        record(log_file, f"Conexão encerrada com {address}")


def main(port: int, log_file: Path) -> None:
    """Serve for ever on loopback."""
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        record(log_file, f"Servidor iniciando em 127.0.0.1:{port}")
        while True:
            connection, address = listener.accept()
            record(log_file, f"Nova conexão de {address}")
            threading.Thread(target=handle, args=(connection, address, log_file), daemon=True).start()
            record(log_file, f"Conexões ativas: {threading.active_count() - 1}")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
