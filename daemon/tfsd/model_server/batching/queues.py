"""Batching of requests: queues of tasks, and the threads that run them as one.

Tasks of one queue (a signature and its set of outputs) are concatenated on dimension 0, padded to an allowed
size, run and split again, as TensorFlow Serving's batching session does. Never imports TensorFlow: what a
batch runs is handed in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tfsd.model_server.batching.arrays import concatenate, group_key, split
from tfsd.model_server.batching.parameters import BatchParameters
from tfsd.model_server.errors import Code, ServingError, invalid

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]

__all__ = ["BatchParameters", "BatchQueue", "BatchThreads"]


class _Task:
    """One caller's request: its inputs, and a lock that is released when there is a result or an error."""

    __slots__ = ("abandoned", "done", "error", "inputs", "outputs", "size")

    def __init__(self, inputs: Arrays, size: int) -> None:
        self.inputs = inputs
        self.size = size
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
        self._clock = clock
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

    def submit(self, queue: BatchQueue, task: _Task) -> None:
        """Put a task into a queue's open batch, or start a new one.

        Raises ServingError: UNAVAILABLE, the queue is full.
        """
        parameters = queue.parameters
        with self._changed:
            batches = queue.batches
            if batches and batches[-1].size + task.size <= parameters.max_batch_size:
                batches[-1].tasks.append(task)
                batches[-1].size += task.size
                if not queue.is_ready():
                    return  # a thread waits for the batch already: waking it for every task costs most of a task
            else:
                if len(batches) >= parameters.max_enqueued_batches:
                    raise ServingError(
                        Code.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{len(batches)} batches enqueued and max_enqueued_batches is "
                        f"{parameters.max_enqueued_batches}",
                    )
                if not batches:
                    self._active.append(queue)
                batches.append(_Batch(task, self._clock() + parameters.batch_timeout_micros / 1e6))
            self._changed.notify()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            queue, tasks = work
            queue.process(tasks)

    def _next(self) -> tuple[BatchQueue, list[_Task]] | None:
        """Wait for a batch that is full, overdue or followed by another; None when there is no more to do."""
        with self._changed:
            while True:
                now = self._clock()
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


class BatchQueue:
    """The tasks of one signature and output set of one servable."""

    def __init__(self, threads: BatchThreads, parameters: BatchParameters, run: Run) -> None:
        self._threads = threads
        self._run = run
        self.parameters = parameters
        self.batches: deque[_Batch] = deque()

    def is_ready(self) -> bool:
        """Whether the first batch need not wait for more tasks."""
        return len(self.batches) > 1 or self.batches[0].size >= self.parameters.max_batch_size

    def run(self, inputs: Arrays, timeout_ms: int | None = None) -> dict[str, np.ndarray]:
        """Run one request as part of a batch and wait for its outputs.

        Raises ServingError: INVALID_ARGUMENT for inputs that cannot be batched, UNAVAILABLE when the queue is
            full, DEADLINE_EXCEEDED, or what the run says about this request alone.
        """
        size = batch_size(inputs)
        if size > self.parameters.max_batch_size:
            limit = self.parameters.max_batch_size
            raise invalid(f"Task size {size} is larger than maximum input batch size {limit}")
        if size == 0:
            return self._run(inputs)  # nothing to share: TensorFlow Serving would let it wait for company
        task = _Task(inputs, size)
        self._threads.submit(self, task)
        if not task.done.acquire(timeout=-1 if timeout_ms is None else timeout_ms / 1000):
            task.abandoned = True
            raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        if task.error is not None:
            raise task.error
        return task.outputs

    def process(self, tasks: list[_Task]) -> None:
        """Run the tasks of one batch; those that cannot be concatenated run apart."""
        groups: dict[Any, list[_Task]] = {}
        for task in tasks:
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
