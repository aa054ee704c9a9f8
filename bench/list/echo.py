"""A minimal ZeroMQ server in Python: `python echo.py PORT` sends every request back."""

import sys

import zmq

server = zmq.Context().socket(zmq.REP)
server.bind(f"tcp://127.0.0.1:{int(sys.argv[1])}")
while True:
    server.send(server.recv())
