"""Servers that lend each other workers, simulated in virtual time: `python -m peers.lending.simulation --help`."""
