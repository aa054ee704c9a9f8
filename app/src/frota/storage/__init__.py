"""What is kept on disk: the state folder of a unit, and the write-ahead log."""
