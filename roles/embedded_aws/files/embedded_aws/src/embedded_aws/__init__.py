"""moto's server with persistent state."""
