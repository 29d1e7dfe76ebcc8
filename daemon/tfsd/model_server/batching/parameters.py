"""What a BatchingParameters message says, checked. Never reads a file."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tfsd.model_server.errors import invalid
from tfsd.model_server.flags import cpus

#: The fields of the message whose values are messages too, so that they can be absent.
_WRAPPED = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
)


@dataclass(frozen=True, slots=True)
class BatchParameters:
    """How requests are batched; defaults as in TensorFlow Serving.

    Attributes:
        max_batch_size: rows of a single request and, without splitting, of a batch.
        batch_timeout_micros: how long a batch that is not full waits for more.
        max_enqueued_batches: batches of one queue that may wait, the open one included.
        num_batch_threads: batches that run at once.
        allowed_batch_sizes: ascending; batches are padded up to the next. Empty: no padding.
        pad_variable_length_inputs: pad dimensions after the first so that all tasks fit together.
        enable_large_batch_splitting: cut requests so that every batch is full.
        max_execution_batch_size: rows of a batch with splitting; 0: as many as of a request.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def execution_limit(self) -> int:
        """Rows that a batch may have before it is padded."""
        if not self.enable_large_batch_splitting:
            return self.max_batch_size
        return self.max_execution_batch_size or self.max_batch_size

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
        if not 0 < self.execution_limit <= self.max_batch_size:
            raise invalid(
                "With enable_large_batch_splitting max_execution_batch_size must be positive and no larger than "
                f"max_batch_size, {self.max_batch_size}; was {self.max_execution_batch_size}"
            )
        if self.batch_timeout_micros < 0:
            raise invalid(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")


def from_proto(proto: Any) -> BatchParameters:
    """The parameters of a `BatchingParameters` message; what it leaves out has its default."""
    given = {name: getattr(proto, name).value for name in _WRAPPED if proto.HasField(name)}
    return BatchParameters(
        **{"num_batch_threads": cpus()} | given,
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
    )
