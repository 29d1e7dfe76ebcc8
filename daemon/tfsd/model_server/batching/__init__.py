"""Batching before the session, as TensorFlow Serving's batching session does it."""
