"""Revisions, each with the way forward and back; see `r0001` for the rules."""
