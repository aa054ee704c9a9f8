"""The process of `frota status`."""
