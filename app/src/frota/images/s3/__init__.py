"""The S3 client of producer and worker."""
