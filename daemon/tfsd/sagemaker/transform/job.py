"""A transform job from its start to its end: instances, the objects that they share, and what became of them.

Owns the job's status, which is one of InProgress, Completed, Failed, Stopping and Stopped, and its record. An object
that fails fails the job, but the others are transformed nevertheless.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import gevent
from gevent.event import Event
from gevent.pool import Pool

from tfsd.sagemaker.instances.instance import Instance, InstanceError
from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError
from tfsd.sagemaker.transform.errors import AlgorithmError, DataError, TransformError
from tfsd.sagemaker.transform.inputs import InputObject, input_objects
from tfsd.sagemaker.transform.object_output import ObjectOutput
from tfsd.sagemaker.transform.payloads import Payload, StreamedPayload
from tfsd.sagemaker.transform.sending import Parameters, Sender, parameters
from tfsd.sagemaker.transform.specification import Specification

log = logging.getLogger(__name__)

START_SECONDS = 600
MAX_REASON = 1024
INTERRUPTED = "InternalServerError: Local SageMaker was stopped while the job ran."
WINDOW = 2  # payloads that are sent or wait for their turn in the output, for each that may be sent at once

AnyPayload = Payload | StreamedPayload


class Progress(Protocol):
    """Told what happens, so that it can be shown."""

    def started(self, objects: int) -> None: ...

    def sending(self) -> None: ...

    def records(self, count: int) -> None: ...

    def object_done(self, failed: bool) -> None: ...

    def ended(self, status: str) -> None: ...


class Job:
    """One run. `make_instance(number)` makes an instance that has not been started; `write` logs a line."""

    def __init__(
        self,
        specification: Specification,
        objects: ObjectStore,
        make_instance: Callable[[int], Instance],
        write: Callable[[int, str], None],
        progress: Progress,
    ) -> None:
        self.specification = specification
        self.stopping = False
        self.finished = Event()
        self.errors: list[str] = []
        self._objects = objects
        self._make_instance = make_instance
        self.write = write
        self._progress = progress
        self._waiting: deque[InputObject] = deque()
        self._instances: list[Instance] = []
        self._runs: list[gevent.Greenlet] = []

    def run(self, changed: Callable[[str, str | None], None]) -> None:
        """Transform everything. `changed(status, failure reason)` is called at the end, before `finished` is set."""
        try:
            self._transform()
        except TransformError as error:
            self.errors.append(f"{error.origin}: {error}")
        except gevent.GreenletExit:
            self.errors.append(INTERRUPTED)
        except Exception as error:
            log.exception("A transform job failed: a defect of local SageMaker.")
            self.errors.append(f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            gevent.joinall([gevent.spawn(instance.stop) for instance in self._instances])
            status = "Stopped" if self.stopping else "Failed" if self.errors else "Completed"
            self._progress.ended(status)
            changed(status, failure_reason(self.errors) if status == "Failed" else None)
            self.finished.set()

    def stop(self) -> None:
        """Send nothing more; what has been stored stays."""
        self.stopping = True
        gevent.killall(self._runs, block=False)

    def _transform(self) -> None:
        """Raises TransformError for what ends the job as a whole."""
        job = self.specification
        self._waiting.extend(input_objects(self._objects, job.input_type, job.input_uri))
        self._progress.started(len(self._waiting))
        if self.stopping:  # before it began
            return
        self._instances = [self._make_instance(number) for number in range(job.instances)]
        self._runs = [gevent.spawn(self._run, *numbered) for numbered in enumerate(self._instances)]
        try:
            for run in gevent.iwait(self._runs):
                if isinstance(run.value, Exception):
                    raise run.value
        finally:
            gevent.killall(self._runs)

    def _run(self, number: int, instance: Instance) -> Exception | None:
        """The life of one instance: as long as objects wait, it takes the next one. Returns what ended it early."""
        try:
            instance.start()
            instance.wait_until_healthy(START_SECONDS)
            told = parameters(self.specification, instance)
            self.write(number, str(told))
            self._progress.sending()
            InstanceRun(self, number, told, Sender(instance, self.specification)).run()
        except InstanceError as error:
            return AlgorithmError(str(error))
        except Exception as error:
            return error
        return None

    def next_object(self) -> InputObject | None:
        return self._waiting.popleft() if self._waiting else None

    def open(self, source: InputObject) -> BinaryIO:
        return self._objects.open(source.bucket, source.key)

    def output(self, source: InputObject) -> ObjectOutput:
        return ObjectOutput(source, self.specification, self._objects)

    def sent(self, records: int) -> None:
        self._progress.records(records)

    def done(self, number: int, output: ObjectOutput) -> None:
        """Store or discard an object's output, and say what became of it."""
        source = output.source
        if output.error is None:
            try:
                output.store()
            except ObjectStoreError as error:
                output.error = DataError(str(error))
            except OSError as error:
                output.error = error
        if output.error is None:
            self._progress.object_done(failed=False)
            return
        output.discard()
        origin = getattr(output.error, "origin", "InternalServerError")
        self.errors.append(f"{origin}: {source.uri}: {output.error}")
        self.write(number, f"{source.bucket}/{source.key}: {origin}: {output.error}")
        self._progress.object_done(failed=True)


class InstanceRun:
    """The objects that one instance transforms: read in order, sent side by side, put together in order.

    Objects follow each other without a pause: while the last payloads of one are under way, the first ones of the next
    are sent. Memory holds at most the payloads of the window.
    """

    def __init__(self, job: Job, number: int, told: Parameters, sender: Sender) -> None:
        self._job = job
        self._number = number
        self._packing = told.packing
        self._sender = sender
        self._pool = Pool(told.max_concurrent)
        self._window: deque[tuple[ObjectOutput, AnyPayload | None, gevent.Greenlet | None]] = deque()
        self._most = WINDOW * told.max_concurrent

    def run(self) -> None:
        try:
            while source := self._job.next_object():
                output = self._job.output(source)
                for payload in self._payloads(output):
                    while len(self._window) >= self._most:
                        self._take()
                    if output.error:
                        break
                    self._window.append((output, payload, self._pool.spawn(self._send, payload)))
                self._window.append((output, None, None))
            while self._window:
                self._take()
        finally:
            self._pool.kill()
            for output, _, _ in self._window:
                output.discard()

    def _send(self, payload: AnyPayload) -> BinaryIO | Exception:
        """The answer, or why there is none: a greenlet that raises is printed."""
        try:
            return self._sender.send(payload)
        except Exception as error:
            return error

    def _payloads(self, output: ObjectOutput) -> Iterator[AnyPayload]:
        """The object's payloads; an error in them is the object's."""
        source = output.source
        try:
            yield from self._packing.payloads(lambda: self._job.open(source))
        except (TransformError, ObjectStoreError) as error:
            output.error = output.error or error

    def _take(self) -> None:
        """Wait for the oldest payload and put its answer to its object's output; or end an object."""
        output, payload, sending = self._window.popleft()
        if payload is None or sending is None:
            self._job.done(self._number, output)
            return
        if output.error:
            sending.kill()
            return
        answer = sending.get()
        try:
            if isinstance(answer, Exception):
                raise answer
            output.add(payload, answer)
            self._job.sent(payload.count)
        except (TransformError, ObjectStoreError, OSError) as error:
            output.error = error


def failure_reason(errors: list[str]) -> str:
    """The first error, how many more there are, and where to look."""
    more = f" {len(errors) - 1} more failed." if len(errors) > 1 else ""
    end = f"{more} See job logs for more information."
    first = errors[0] if errors[0].endswith((".", "…")) else errors[0] + "."
    room = MAX_REASON - len(end)
    return (first if len(first) <= room else first[: room - 1] + "…") + end


def log_line(text: str, now: float | None = None) -> str:
    """A line of the job's data log, in SageMaker's form."""
    seconds = time.time() if now is None else now
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{moment}.{int(seconds * 1000) % 1000:03d}:[sagemaker logs]: {text}"
