"""What processes of all systems share; imports nothing of any system."""
