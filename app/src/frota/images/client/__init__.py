"""The processes of `frota images send` and `status`."""
