"""Images sent over gRPC, queued in RabbitMQ, turned grey by workers, kept in S3."""
