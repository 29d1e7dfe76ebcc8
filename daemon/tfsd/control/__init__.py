"""The control plane: health, metrics, the life of models. Never on the path of an invocation."""
