"""Images sent over gRPC, queued in RabbitMQ, converted to grayscale by workers, stored in S3."""
