"""The process of `frota images work`, and its child processes that convert."""
