"""S3, for producer and worker."""
