"""Observer: one place to look at the whole fleet, over all systems."""
