"""One loaded version of a model: its signatures and how to run them.

Owns the arrays in, arrays out contract. Never decides whether it may be used: `core` counts references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class Servable(Protocol):
    """What REST, gRPC, batching and warm-up see of a loaded model version.

    Attributes:
        name: the model's name.
        version: its number.
        signature_defs: signature name -> `tensorflow.SignatureDef`, `__saved_model_init_op` included.
        check_method_names: --enable_signature_method_name_check; `inference` heeds it.
    """

    name: str
    version: int
    signature_defs: Mapping[str, Any]
    check_method_names: bool

    def signature(self, name: str) -> Any | None:
        """The `SignatureDef` of that exact name, or None. An empty name is not mapped to a default."""

    def input_dtypes(self, signature_name: str) -> Mapping[str, int] | None:
        """Input alias -> number of the dtype that the signature declares; None when there is no such signature."""

    def output_dtypes(self, signature_name: str) -> Mapping[str, int]:
        """Output alias -> number of its dtype in the graph; arrays do not tell quantized integers from plain ones."""

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_names: Sequence[str] | None = None,
        timeout_ms: int | None = None,
        api: str = "Predict",
    ) -> Arrays:
        """Compute a signature's outputs, batched with other callers' requests when batching is on. A thread that leads
        a server leaves the lead (`lead`), unless that is known to be short.

        Args:
            signature_name: a key of `signature_defs`.
            inputs: alias -> array; strings are object arrays of bytes. Exactly the signature's inputs
                (those with a default value may be left out).
            output_names: the output aliases wanted; None for all.
            timeout_ms: time limit of the computation. Use few different values: each costs a prepared call.
            api: what the time is measured for: `Predict`, `Classify` or `Regress`.
        Returns: alias -> array, in the order of the aliases' names; strings are object arrays of bytes, scalars
            arrays of rank 0.
        Raises ServingError: DEADLINE_EXCEEDED `Timed out waiting for notification`, or whatever the graph or
            the batching queue says.
        """
