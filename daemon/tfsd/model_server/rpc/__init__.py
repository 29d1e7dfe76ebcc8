"""The gRPC API of the model server."""
