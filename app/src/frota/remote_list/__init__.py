"""Remote list: named lists of strings over ZeroMQ, every change on disk before it is answered."""
