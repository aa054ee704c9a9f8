"""The process of `frota dashboard serve`: the page of the observer."""
