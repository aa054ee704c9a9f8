"""Metrics of every computer in near real time: an agent on each, a server that keeps and shows them."""
