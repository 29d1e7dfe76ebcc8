"""TensorFlow's protobuf messages, without TensorFlow: see `packages`."""
