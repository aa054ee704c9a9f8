"""The processes of those who use the list: one command, watch, menu."""
