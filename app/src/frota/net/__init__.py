"""Network: addresses, listening sockets, the TCP server."""
