"""The observer: one place to look at the whole fleet."""
