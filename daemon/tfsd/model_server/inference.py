"""The verbs without a transport: predict, classify and regress on a servable, with plain results.

Used by gRPC and REST. Never parses a wire format.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfsd.model_server.servable import Servable

#: One example's classes: (label bytes, score) pairs; an absent label is b"", an absent score 0.0.
Classification = list[tuple[bytes, float]]


def classify(servable: Servable, signature_name: str, examples: Sequence[bytes]) -> list[Classification]:
    """Classify serialized `tf.Example`s with a signature (empty name: `serving_default`).

    Returns: for each example its (label, score) pairs.
    Raises ServingError: unknown signature, no example, or what the graph says.
    """
    raise NotImplementedError


def regress(servable: Servable, signature_name: str, examples: Sequence[bytes]) -> list[float]:
    """Regress serialized `tf.Example`s with a signature (empty name: `serving_default`).

    Returns: one value (a float32 as a Python float) for each example.
    Raises ServingError: unknown signature, no example, or what the graph says.
    """
    raise NotImplementedError
