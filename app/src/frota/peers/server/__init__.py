"""The process of `frota peers serve`."""
