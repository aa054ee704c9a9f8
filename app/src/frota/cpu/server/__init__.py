"""The process of `frota cpu serve`."""
