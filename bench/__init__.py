"""Benchmarks: measures frota and its peers in pairs. See README.md."""
