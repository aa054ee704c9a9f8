"""The processes of those who send images and look after dead ones: `frota images send`, `status` and `dead`."""
