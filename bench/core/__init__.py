"""Code that the benchmarks of all systems share."""
