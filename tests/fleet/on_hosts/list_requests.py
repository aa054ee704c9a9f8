"""Sends messages to the list server unchecked, as a ZeroMQ client, and prints the responses.

    /opt/frota/current/bin/python list_requests.py HOST:PORT TIMEOUT [SECRETKEY SERVERKEY]

Each line of standard input is a message; each response is printed as a line. The script ends at the first message
without a response within TIMEOUT seconds. SECRETKEY is a file, or `new` for a new key, whose public key is then the
first line of the output.
"""

import sys
from pathlib import Path

import zmq
from zmq.utils import z85


def main(address: str, timeout_s: str, secret: str = "", server: str = "") -> None:
    """Send every line of standard input."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.linger, socket.rcvtimeo = 0, int(float(timeout_s) * 1000)
    if secret == "new":
        public, pair = zmq.curve_keypair()
        print(z85.decode(public).hex())
    elif secret:
        pair = z85.encode(bytes.fromhex(Path(secret).read_text(encoding="ascii")))
        public = zmq.curve_public(pair)
    if secret:
        socket.curve_secretkey, socket.curve_publickey = pair, public
        socket.curve_serverkey = z85.encode(bytes.fromhex(server))
    socket.connect(f"tcp://{address}")
    try:
        for line in sys.stdin:
            socket.send_string(line.rstrip("\n"))
            print(socket.recv_string(), flush=True)
    except zmq.Again:
        print("no response")


if __name__ == "__main__":
    main(*sys.argv[1:])
