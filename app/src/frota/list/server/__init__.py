"""The process of `frota list serve`."""
