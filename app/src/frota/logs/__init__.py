"""The log: one way from `record` to the journal or a terminal, and its rate limits."""
