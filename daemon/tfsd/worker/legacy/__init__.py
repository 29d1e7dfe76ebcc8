"""The older Python endpoint: input_fn, output_fn and transform_fn over gRPC."""
