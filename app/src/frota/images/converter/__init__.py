"""The child processes that convert images, and the pool of them, for producer and worker."""
