"""TensorFlow's protobuf messages for workers, without TensorFlow: see `packages`."""
