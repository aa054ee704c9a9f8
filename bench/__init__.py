"""Benchmarks: frota beside its peers, paired, in one run. See README.md."""
