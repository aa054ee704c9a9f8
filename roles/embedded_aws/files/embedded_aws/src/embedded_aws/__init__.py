"""moto's server, with a memory on disk."""
