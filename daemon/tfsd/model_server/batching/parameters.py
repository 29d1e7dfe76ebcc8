"""What a BatchingParameters message says, checked. Never reads a file."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tfsd.model_server.errors import invalid
from tfsd.model_server.flags import cpus


@dataclass(frozen=True, slots=True)
class BatchParameters:
    """How requests are batched; defaults as in TensorFlow Serving.

    Attributes:
        max_batch_size: rows of a batch, and of a single request.
        batch_timeout_micros: how long a batch that is not full waits for more.
        max_enqueued_batches: batches of one queue that may wait, the open one included.
        num_batch_threads: batches that run at once.
        allowed_batch_sizes: ascending; batches are padded up to the next. Empty: no padding.
        pad_variable_length_inputs: pad dimensions after the first so that all tasks fit together.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False

    def padded_size(self, rows: int) -> int:
        """The allowed size that `rows` are padded to."""
        index = bisect_left(self.allowed_batch_sizes, rows)
        return self.allowed_batch_sizes[index] if index < len(self.allowed_batch_sizes) else rows

    def check(self) -> None:
        """Raises ServingError: INVALID_ARGUMENT, as loading a model with such parameters fails."""
        sizes = self.allowed_batch_sizes
        if sizes and sizes[-1] != self.max_batch_size:
            raise invalid(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )
        if any(low >= high for low, high in pairwise(sizes)):
            raise invalid("allowed_batch_sizes entries must be monotonically increasing")
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be positive; was {getattr(self, name)}")
        if self.batch_timeout_micros < 0:
            raise invalid(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")


def from_proto(proto: Any) -> BatchParameters:
    """The parameters of a `BatchingParameters` message; what it leaves out has its default."""
    given = {
        name: getattr(proto, name).value
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        if proto.HasField(name)
    }
    return BatchParameters(
        **{"num_batch_threads": cpus()} | given,
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
    )
