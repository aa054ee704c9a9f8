"""The process of `frota trace`."""
