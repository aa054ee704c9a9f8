"""The process of `frota images work`."""
