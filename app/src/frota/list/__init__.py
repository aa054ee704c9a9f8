"""Remote list: named lists of strings over ZeroMQ; every change is on disk before its response."""
