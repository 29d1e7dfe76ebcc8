"""The converter: a request's body to TensorFlow Serving's JSON, and its answer to what the client accepts."""
