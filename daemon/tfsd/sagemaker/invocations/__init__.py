"""What surrounds an invocation: event streams for streamed answers, metrics for CloudWatch, captured data for S3."""
