"""Peers that lend each other workers."""
