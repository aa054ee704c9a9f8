"""The processes of `frota cpu top` and `history`."""
