"""The process of `frota sensors serve`."""
