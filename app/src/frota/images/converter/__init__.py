"""A pool of child processes that convert images, for producer and worker."""
