"""Sockets: addresses, listening, the TCP server."""
