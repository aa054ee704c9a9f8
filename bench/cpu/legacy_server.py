"""A server of the legacy design: `python legacy_server.py PORT`, one thread per agent, nothing stored."""

import socket
import sys
import threading


def serve(connection: socket.socket, clients: dict[socket.socket, str]) -> None:
    """Print the result of each `recv` as one message, as the legacy server does."""
    with connection:
        while data := connection.recv(1024):
            clients[connection] = data.decode()
            print(f"[DADOS RECEBIDOS]{clients[connection]}")
    del clients[connection]


def main(port: int) -> None:
    """Accept connections until the process is killed."""
    threading.stack_size(256 * 1024)
    clients: dict[socket.socket, str] = {}
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, clients), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
