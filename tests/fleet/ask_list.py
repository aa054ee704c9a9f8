"""Runs on a host of the fleet: one client that sends what it is given, whatever it is.

    /opt/frota/current/bin/python ask_list.py HOST:PORT SECONDS [SECRETKEY SERVERKEY]

Each line on standard input is a message; each answer is printed as a line. Ends at the first that is not answered
within the time. SECRETKEY `new` stands for one that was made this moment; its public half is the first line, then.
"""

import sys
from pathlib import Path

import zmq
from zmq.utils import z85


def main(address: str, seconds: str, secret: str = "", server: str = "") -> None:
    """Send every line of standard input."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.linger, socket.rcvtimeo = 0, int(float(seconds) * 1000)
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
        print("no answer")


if __name__ == "__main__":
    main(*sys.argv[1:])
