"""Peers: servers that give tasks to workers and lend each other workers."""
