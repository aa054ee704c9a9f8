"""What every benchmark needs and that knows the name of no system."""
