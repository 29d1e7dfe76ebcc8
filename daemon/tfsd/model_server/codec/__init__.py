"""TensorFlow Serving's JSON: parsing, tensors in and out."""
