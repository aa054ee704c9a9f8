"""Run TLS handshakes on loopback as the server and as a user; print the client's name or the error."""

import socket
import ssl
import threading

FOLDER = "/etc/frota"
AUTHORITY = f"{FOLDER}/certificates/ca.crt"


def context(name: str, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Return a context with the certificate `name`, if any, that requires a certificate of the CA from the peer."""
    made = ssl.create_default_context(purpose, cafile=AUTHORITY)
    made.verify_mode = ssl.CERT_REQUIRED
    if name:
        made.load_cert_chain(f"{FOLDER}/certificates/{name}.crt", f"{FOLDER}/credentials/{name}.key")
    return made


def serve(listener: socket.socket) -> None:
    """Send one client its common name."""
    connection, _ = listener.accept()
    try:
        with context("server", ssl.Purpose.CLIENT_AUTH).wrap_socket(connection, server_side=True) as client:
            client.sendall(dict(pair for (pair,) in client.getpeercert()["subject"])["commonName"].encode())
    except (ssl.SSLError, ConnectionError):
        connection.close()


def connect(name: str, host: str) -> str:
    """Return the server's response to a client with the certificate `name` that connects to `host`, or the error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                context(name, ssl.Purpose.SERVER_AUTH).wrap_socket(plain, server_hostname=host) as client,
            ):
                return client.recv(100).decode()
        except ssl.SSLError as error:
            return error.reason
        finally:
            server.join()


print(connect("person", "localhost"), connect("", "localhost"), connect("person", "elsewhere"), sep="\n")
