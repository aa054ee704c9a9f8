"""Network: addresses, listening sockets."""
