"""The codec: from JSON to messages and back. Read `dialects` first: the table of all messages."""
