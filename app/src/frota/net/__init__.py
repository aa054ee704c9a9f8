"""Sockets: addresses, listening."""
