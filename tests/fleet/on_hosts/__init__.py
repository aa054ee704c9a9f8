"""Scripts that run on hosts of the fleet. Each is sent as text, so that it imports nothing from here."""
