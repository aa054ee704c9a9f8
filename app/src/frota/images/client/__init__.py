"""The client commands: `frota images send`, `status` and `dead`."""
