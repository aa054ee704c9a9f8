"""What every system of the fleet needs, and that knows the name of none of them."""
