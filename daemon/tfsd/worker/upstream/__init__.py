"""The ways to a model server: pooled connections, gRPC channels, a user's own requests."""
