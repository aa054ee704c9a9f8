"""Durable storage: state folders, atomic files, SQLite, the write-ahead log, the outbox."""
