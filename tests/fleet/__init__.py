"""Acceptance: the fleet of this checkout, as it runs, is what the design promises. Needs `make up`."""
