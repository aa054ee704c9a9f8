"""Benchmarks: measures frota and its baselines in pairs. See README.md."""
