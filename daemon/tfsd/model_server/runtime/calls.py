"""Prepared calls of a Session: on TensorFlow's threads, or in the caller's own where that is known to be short.

Waking a thread of TensorFlow's costs several times what a small model computes. Which inputs are computed in a
short time is learnt from the calls themselves. Knows no signature.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2

from tfsd.model_server.lead import leave

#: Seconds: a call of less is short, and one of more is not what was expected of a short one.
SHORT, LONG = 200e-6, 5e-3
MAX_SURPRISES = 10
#: Parts of the names of operations that may wait, or go on for as long as their input says.
_UNBOUNDED = (
    "While",
    "NextIteration",
    "PyFunc",
    "Queue",
    "Dequeue",
    "Barrier",
    "Dataset",
    "Iterator",
    "Batch",
    "Recv",
)
_UNKNOWN = math.inf  # bytes of strings
_CALLERS_THREAD = -1  # RunOptions.inter_op_thread_pool

Run = Callable[..., list[Any]]


def is_bounded(graph: graph_pb2.GraphDef) -> bool:
    """Whether how long a graph computes is bounded by the sizes of its inputs, as far as its operations tell."""
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    operations = {node.op for listed in nodes for node in listed}
    return not any(part in operation for operation in operations for part in _UNBOUNDED)


class Call:
    """One call, prepared once.

    Args:
        session: the Session.
        feeds, fetches: names of tensors.
        timeout_ms: time limit; None for none. A call in the caller's thread cannot be stopped: it is tried only for
            inputs no larger than some that were computed in `SHORT`. One that computes for `LONG` is a surprise (the
            first also if it waited), after which that must be seen again, and after `MAX_SURPRISES` it is not tried any
            more.
        bounded: whether calls in the caller's thread may be tried at all.
        ran: told the microseconds that each call took which went well.
    """

    def __init__(
        self,
        session: Any,
        feeds: Iterable[str],
        fetches: Iterable[str],
        timeout_ms: int | None,
        bounded: bool,
        ran: Callable[[float], None],
    ) -> None:
        self._session = session
        self._feeds, self._fetches = list(feeds), list(fetches)
        self._ran = ran
        options = self._tensors()
        if timeout_ms is not None:
            options.run_options.timeout_in_ms = timeout_ms
        # Session.make_callable() cannot set a time limit without the slow path through Session.run()
        self._on_threads: Run = session._make_callable_from_options(options)
        self._here: Run | None = None
        self._short_size: float = -1
        self._surprises = 0 if bounded else MAX_SURPRISES

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        """The values fetched. Other Python threads go on meanwhile, and one of them takes the lead (`lead`) unless the
        call is known to be short."""
        size, here = self._size(arrays), self._here
        if here is None or size > self._short_size:
            leave()
            started = time.perf_counter()
            values = self._on_threads(*arrays)
            seconds = time.perf_counter() - started
            if seconds < SHORT and size < _UNKNOWN and self._surprises < MAX_SURPRISES:
                self._learn(size)
        else:
            # On a busy machine a thread waits for a CPU as well: that says nothing of the model. To ask how long it
            # has computed is a system call, which is spared up to the first surprise.
            computed = time.thread_time() if self._surprises else -math.inf
            started = time.perf_counter()
            values = here(*arrays)
            seconds = time.perf_counter() - started
            if seconds > LONG and time.thread_time() - computed > LONG:
                self._surprises += 1
                self._short_size = -1
        self._ran(seconds * 1e6)
        return values

    def _tensors(self) -> config_pb2.CallableOptions:
        options = config_pb2.CallableOptions()
        options.feed.extend(self._feeds)
        options.fetch.extend(self._fetches)
        return options

    @staticmethod
    def _size(arrays: Iterable[np.ndarray]) -> float:
        size: float = 0
        for array in arrays:
            size += array.nbytes if array.dtype.kind != "O" else _UNKNOWN
        return size

    def _learn(self, size: float) -> None:
        """Inputs of so many bytes were computed in a short time."""
        if self._here is None:
            options = self._tensors()  # a time limit would cost time, and cannot stop this thread
            options.run_options.inter_op_thread_pool = _CALLERS_THREAD
            self._here = self._session._make_callable_from_options(options)
        self._short_size = max(self._short_size, size)
