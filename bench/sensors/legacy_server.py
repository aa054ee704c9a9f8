"""A server of the legacy design: `python legacy_server.py PORT LOG_FILE`. Only for the benchmark.

One thread per connection. The server treats the result of each `recv(1024)` as one reading, opens and closes the log
file for it, prints and flushes the record, as `logging` does, and responds. It does not fsync. It has the faults of
the legacy server.
"""

import socket
import sys
import threading
import time
from pathlib import Path

RESPONSE = b"Dados recebidos com sucesso."
BACKLOG = 4096  # the legacy server's is shorter, but rejected connections are not measured


def record(log_file: Path, text: str) -> None:
    """Print a record and append it to the log file."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} - {text}"
    print(line, flush=True)
    with log_file.open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def handle(connection: socket.socket, address: tuple[str, int], log_file: Path) -> None:
    """Serve a connection until it is closed."""
    try:
        while data := connection.recv(1024):
            record(log_file, f"Recebido de {address}: {data.decode()}")
            connection.sendall(RESPONSE)
    except OSError as error:
        record(log_file, f"Erro com {address}: {error}")
    finally:
        connection.close()
        record(log_file, f"Conexão encerrada com {address}")


def main(port: int, log_file: Path) -> None:
    """Serve on loopback until the process is killed."""
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        record(log_file, f"Servidor iniciando em 127.0.0.1:{port}")
        while True:
            connection, address = listener.accept()
            record(log_file, f"Nova conexão de {address}")
            threading.Thread(target=handle, args=(connection, address, log_file), daemon=True).start()
            record(log_file, f"Conexões ativas: {threading.active_count() - 1}")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
