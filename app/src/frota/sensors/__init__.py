"""Sensors: readings over TCP, acknowledged once they are on disk."""
