"""Multi-model endpoints: the life of a model from its load to its unload."""
