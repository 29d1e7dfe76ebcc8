"""The REST API of the model server, over an HTTP server of its own."""
