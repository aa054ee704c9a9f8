"""The processes of `frota sensors tail` and `history`."""
