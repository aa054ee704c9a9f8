"""The protocol of peers, workers and clients: bytes in, events out, without I/O."""
