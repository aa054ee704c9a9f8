"""The process of `frota images serve`."""
