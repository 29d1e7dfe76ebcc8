"""The Open Inference Protocol (V2) over REST: a model's own tensors, past all conversion and user code."""
