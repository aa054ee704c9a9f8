"""Acceptance tests of the running fleet of this checkout. They need `make up`."""
