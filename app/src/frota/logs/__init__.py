"""Logging: one path from `record` to the journal or a terminal, and its rate limits."""
