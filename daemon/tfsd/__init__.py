"""Serve TensorFlow SavedModels under SageMaker's hosting contract: nginx, gevent workers, model servers."""

__version__ = "0.2.0"
