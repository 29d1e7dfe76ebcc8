"""Which images our stack stands for: those that AWS built of TensorFlow Serving, and our own, in any registry."""

from __future__ import annotations

OURS = (
    "sagemaker-tensorflow",  # of the Python-based endpoints
    "sagemaker-tensorflow-eia",
    "sagemaker-tensorflow-serving",
    "sagemaker-tensorflow-serving-eia",
    "tensorflow-inference",
    "tensorflow-inference-eia",
)


def is_ours(image: str) -> bool:
    """Whether an image is served by our stack: `[REGISTRY/]REPOSITORY[:TAG]` with one of the repositories above."""
    repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return repository in OURS
