"""Batching of requests: queues of tasks, and the threads that run them as one.

Tasks of one queue (a signature and its set of outputs) are concatenated on dimension 0, padded to an allowed
size, run and split again, as TensorFlow Serving's batching session does. With large batch splitting a request is
several tasks, so that every batch is full. Never imports TensorFlow: what a batch runs is handed in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tfsd.model_server.batching.arrays import concatenate, group_key, split
from tfsd.model_server.batching.parameters import BatchParameters
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]

_THREAD_POOL = ("",)  # the name that the real server's shared pool has in its metrics

__all__ = ["BatchParameters", "BatchQueue", "BatchThreads"]


class _Task:
    """One caller's request, or a piece of it: inputs, and a lock that is released when there is an outcome.

    Attributes:
        submitted: when it was put into the queue, on the threads' clock.
    """

    __slots__ = ("abandoned", "done", "error", "inputs", "outputs", "size", "submitted")

    def __init__(self, inputs: Arrays, size: int, submitted: float) -> None:
        self.inputs = inputs
        self.size = size
        self.submitted = submitted
        self.outputs: dict[str, np.ndarray] = {}
        self.error: Exception | None = None
        self.abandoned = False
        self.done = threading.Lock()
        self.done.acquire()

    def finish(self, outputs: dict[str, np.ndarray] | None, error: Exception | None = None) -> None:
        self.outputs, self.error = outputs or {}, error
        self.done.release()


class _Batch:
    __slots__ = ("due", "size", "tasks")

    def __init__(self, task: _Task, due: float) -> None:
        self.tasks = [task]
        self.size = task.size
        self.due = due


class BatchThreads:
    """The threads that run batches, shared by all queues; queues take turns."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._changed = threading.Condition()
        self._active: deque[BatchQueue] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True) for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads once every batch that is queued has been run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, queue: BatchQueue, inputs: Arrays, size: int) -> list[_Task]:
        """Put a request of `size` rows into a queue's open batch, or start new batches.

        Returns: the tasks that it became, in the order of their rows.
        Raises ServingError: UNAVAILABLE, the queue is full.
        """
        with self._changed:
            now = self.clock()
            batches, most = queue.batches, queue.parameters.max_enqueued_batches
            joins, sizes = queue.pieces(size)
            if len(batches) + len(sizes) - joins > most:
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(batches)} batches enqueued and max_enqueued_batches is {most}",
                )
            tasks = [_Task(piece, rows, now) for piece, rows in zip(_cut(inputs, sizes), sizes, strict=True)]
            if joins:
                batches[-1].tasks.append(tasks[0])
                batches[-1].size += tasks[0].size
            elif not batches:
                self._active.append(queue)
            due = now + queue.parameters.batch_timeout_micros / 1e6
            batches.extend(_Batch(task, due) for task in tasks[joins:])
            # A thread waits for an open batch already: waking it for every task costs most of a task.
            if not joins or queue.is_ready():
                self._changed.notify()
            return tasks

    def _work(self) -> None:
        while (work := self._next()) is not None:
            queue, tasks = work
            queue.process(tasks)

    def _next(self) -> tuple[BatchQueue, list[_Task]] | None:
        """Wait for a batch that is full, overdue or followed by another; None when there is no more to do."""
        with self._changed:
            while True:
                now = self.clock()
                wait = None
                for _ in range(len(self._active)):
                    queue = self._active.popleft()
                    first = queue.batches[0]
                    due = 0.0 if self._closed or queue.is_ready() else first.due - now
                    if due <= 0:
                        queue.batches.popleft()
                        if queue.batches:
                            self._active.append(queue)
                            self._changed.notify()
                        return queue, first.tasks
                    self._active.append(queue)
                    wait = due if wait is None else min(wait, due)
                if self._closed:
                    return None
                self._changed.wait(wait)


def _cut(inputs: Arrays, sizes: Sequence[int]) -> list[Arrays]:
    """A request's inputs in pieces of so many rows."""
    if len(sizes) == 1:
        return [inputs]
    bounds = pairwise(accumulate(sizes, initial=0))
    return [{alias: array[start:end] for alias, array in inputs.items()} for start, end in bounds]


def _joined(pieces: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The outputs of a request's pieces. Raises ServingError: INTERNAL, their inner shapes differ."""
    try:
        return {alias: np.concatenate([piece[alias] for piece in pieces]) for alias in pieces[0]}
    except ValueError as error:
        raise ServingError(Code.INTERNAL, f"Tensor concat operation failed: {error}") from None


class BatchQueue:
    """The tasks of one signature and output set of one servable."""

    def __init__(
        self, threads: BatchThreads, parameters: BatchParameters, run: Run, metrics: Metrics
    ) -> None:
        self._threads = threads
        self._run = run
        self._metrics = metrics
        self.parameters = parameters
        self.batches: deque[_Batch] = deque()

    def pieces(self, size: int) -> tuple[bool, list[int]]:
        """How a request of `size` rows is queued: whether its first piece joins the open batch, all pieces' rows.

        Without large batch splitting there is one piece.
        """
        limit = self.parameters.execution_limit
        room = limit - self.batches[-1].size if self.batches else 0
        if size <= room:
            return True, [size]
        if not self.parameters.enable_large_batch_splitting:
            return False, [size]
        sizes = [room] if room else []
        whole, rest = divmod(size - room, limit)
        return bool(room), sizes + [limit] * whole + ([rest] if rest else [])

    def is_ready(self) -> bool:
        """Whether the first batch need not wait for more tasks."""
        return len(self.batches) > 1 or self.batches[0].size >= self.parameters.execution_limit

    def run(self, inputs: Arrays, timeout_ms: int | None = None) -> dict[str, np.ndarray]:
        """Run one request as part of a batch and wait for its outputs.

        Raises ServingError: INVALID_ARGUMENT for inputs that cannot be batched, UNAVAILABLE when the queue is
            full, DEADLINE_EXCEEDED, or what the run says about this request alone.
        """
        size = batch_size(inputs)
        if size > self.parameters.max_batch_size:
            limit = self.parameters.max_batch_size
            raise invalid(f"Task size {size} is larger than maximum input batch size {limit}")
        for array in inputs.values():
            self._metrics.input_batch_size.add(len(array))
        if size == 0:
            return self._run(inputs)  # nothing to share: TensorFlow Serving would let it wait for company
        tasks = self._threads.submit(self, inputs, size)
        self._wait(tasks, timeout_ms)
        for task in tasks:
            if task.error is not None:
                raise task.error
        return tasks[0].outputs if len(tasks) == 1 else _joined([task.outputs for task in tasks])

    def _wait(self, tasks: Sequence[_Task], timeout_ms: int | None) -> None:
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        for task in tasks:
            if not task.done.acquire(
                timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())
            ):
                for one in tasks:
                    one.abandoned = True
                raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")

    def process(self, tasks: list[_Task]) -> None:
        """Run the tasks of one batch; those that cannot be concatenated run apart."""
        groups: dict[Any, list[_Task]] = {}
        now = self._threads.clock()
        for task in tasks:
            self._metrics.queuing_latency.add((now - task.submitted) * 1e6, _THREAD_POOL)
            if not task.abandoned:
                key = group_key(task.inputs, self.parameters.pad_variable_length_inputs)
                groups.setdefault(key, []).append(task)
        for group in groups.values():
            self._process_group(group)

    def _process_group(self, tasks: list[_Task]) -> None:
        try:
            results = self._run_together(tasks)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].finish(None, error)
                return
            for task in tasks:  # one of them is to blame: the others must not pay for it
                self._process_group([task])
            return
        for task, outputs in zip(tasks, results, strict=True):
            task.finish(outputs)

    def _run_together(self, tasks: list[_Task]) -> list[dict[str, np.ndarray]]:
        sizes = [task.size for task in tasks]
        total = self.parameters.padded_size(sum(sizes))
        inputs = concatenate(
            [task.inputs for task in tasks], total, self.parameters.pad_variable_length_inputs
        )
        self._metrics.processed_batch_size.add(total)
        self._metrics.padding_size.add(total - sum(sizes), (str(total),))
        self._metrics.wrapped_run_count.add()
        return split(self._run(inputs), sizes, total)


def batch_size(inputs: Arrays) -> int:
    """The common size of dimension 0. Raises ServingError: INVALID_ARGUMENT, with the real server's texts."""
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = [array.shape[0] for array in inputs.values()]
    if any(one != other for one, other in pairwise(sizes)):
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes[0]
