"""All transform jobs: what CreateTransformJob and StopTransformJob set going, and the record that says how it went.

Owns `State.transform_jobs` and the jobs that run. A job that ran when the emulator ended has failed: its outputs are
stored object by object, so that nobody knows how far it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import gevent

from tfsd.sagemaker.instances.instance import Instance, Launcher
from tfsd.sagemaker.log_streams import LogStreams
from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.state import Record, State, now
from tfsd.sagemaker.transform.job import INTERRUPTED, Job, log_line
from tfsd.sagemaker.transform.progress import Display
from tfsd.sagemaker.transform.specification import Specification

LOG_GROUP = "/aws/sagemaker/TransformJobs"
UNDER_WAY = frozenset({"InProgress", "Stopping"})


class Transforms:
    """Jobs by name. `spawn` runs a function beside the requests, until the emulator stops."""

    def __init__(
        self,
        state: State,
        launcher: Launcher,
        objects: ObjectStore,
        log_streams: LogStreams,
        display: Display,
        spawn: Callable[..., gevent.Greenlet],
    ) -> None:
        self._state, self._launcher, self._objects = state, launcher, objects
        self._log_streams, self._display, self._spawn = log_streams, display, spawn
        self._running: dict[str, Job] = {}

    def start(self, record: Record, specification: Specification, model: Record) -> None:
        """Begin a job whose record is new."""
        name = record["TransformJobName"]
        region = record["TransformJobArn"].split(":")[3]
        ids = [f"i-{secrets.token_hex(9)[:17]}" for _ in range(specification.instances)]
        environment = {**record.get("Environment", {}), **specification.environment}

        def make_instance(number: int) -> Instance:
            stream = self._log_streams.open(region, LOG_GROUP, f"{name}/{ids[number]}")
            return self._launcher.instance(model, f"transform job {name}", stream.write, environment)

        def write(number: int, text: str) -> None:
            stream = self._log_streams.open(region, LOG_GROUP, f"{name}/{ids[number]}/data-log")
            stream.write(log_line(text))

        job = Job(specification, self._objects, make_instance, write, self._display.job(name))
        self._running[name] = job
        begun = now()
        self._put(record, TransformJobStatus="InProgress", CreationTime=begun, TransformStartTime=begun)
        self._spawn(job.run, lambda status, reason: self._ended(record, status, reason))

    def stop(self, record: Record) -> None:
        """Stop a job that runs; nothing happens to one that has ended."""
        job = self._running.get(record["TransformJobName"])
        if job and record["TransformJobStatus"] == "InProgress":
            self._put(record, TransformJobStatus="Stopping")
            job.stop()

    def restore(self) -> None:
        """After a restart: jobs that were cut off have failed."""
        for record in self._state.transform_jobs:
            if record["TransformJobStatus"] in UNDER_WAY:
                self._ended(record, "Failed", INTERRUPTED)

    def _ended(self, record: Record, status: str, reason: str | None) -> None:
        self._running.pop(record["TransformJobName"], None)
        self._put(record, TransformJobStatus=status, FailureReason=reason, TransformEndTime=now())

    def _put(self, record: Record, **changes: Any) -> None:
        record.update(changes)
        record["LastModifiedTime"] = now()
        self._state.transform_jobs.put(record["TransformJobName"], record)
