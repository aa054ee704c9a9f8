"""Where the page's data come from: a part of the fleet each, polled once for all viewers."""
