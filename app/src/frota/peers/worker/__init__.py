"""The process of `frota peers work`."""
