"""The producer process: `frota images serve`."""
