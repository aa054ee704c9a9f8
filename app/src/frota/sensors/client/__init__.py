"""The process of `frota sensors simulate`."""
