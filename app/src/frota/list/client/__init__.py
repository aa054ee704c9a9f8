"""The client processes: single commands, `watch` and `menu`."""
