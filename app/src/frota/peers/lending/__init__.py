"""Lending and borrowing workers: decisions of servers and workers, without I/O."""
