"""Data capture: requests and responses of an endpoint as JSON lines in S3, in the format of SageMaker's Model Monitor.

Owns what has been captured and not stored yet. Lines of one endpoint and variant become one object each few seconds,
`DESTINATION/ENDPOINT/VARIANT/yyyy/mm/dd/hh/….jsonl`, as "Capture data from real-time endpoint" has it.
"""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import gevent

from tfsd.capture_format import INPUT, OUTPUT, Body, event, side
from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError, split_uri

STORE_SECONDS = 2
MAX_LINES = 5000

log = logging.getLogger(__name__)


class DataCapture:
    """Captures for all endpoints. `chance` is a random number below 1, `clock` the time in seconds since the epoch."""

    def __init__(
        self,
        objects: ObjectStore,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._chance = chance
        self._lines: dict[str, list[str]] = {}

    def capture(
        self,
        config: dict[str, Any],
        endpoint: str,
        variant: str,
        request: Body,
        response: Body,
        *,
        inference_id: str | None = None,
        custom_attributes: str | None = None,
    ) -> None:
        """Take an invocation down, if the DataCaptureConfig `config` samples it."""
        if (
            not config.get("EnableCapture", True)
            or self._chance() * 100 >= config["InitialSamplingPercentage"]
        ):
            return
        now = self._clock()
        captured = event(captured_data(config, request, response), inference_id, custom_attributes, now)
        hour = time.strftime("%Y/%m/%d/%H", time.gmtime(now))
        self._add(
            f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint}/{variant}/{hour}", json.dumps(captured)
        )

    def store(self) -> None:
        """Store everything that has been captured, now."""
        for folder in list(self._lines):
            self._store(folder)

    def _add(self, folder: str, line: str) -> None:
        lines = self._lines.setdefault(folder, [])
        lines.append(line)
        if len(lines) == 1:
            gevent.spawn_later(STORE_SECONDS, self._store, folder)
        elif len(lines) >= MAX_LINES:
            self._store(folder)

    def _store(self, folder: str) -> None:
        lines = self._lines.pop(folder, None)
        if not lines:
            return
        now = self._clock()
        name = (
            time.strftime("%M-%S-", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}-{uuid.uuid4()}.jsonl"
        )
        try:
            bucket, key = split_uri(f"{folder}/{name}")
            self._objects.put(
                bucket, key, "".join(f"{line}\n" for line in lines).encode(), "application/jsonlines"
            )
        except (ObjectStoreError, OSError, ValueError) as error:
            log.error("Captured data is lost: %s", error)


def captured_data(config: dict[str, Any], request: Body, response: Body) -> dict[str, Any]:
    """`captureData`: the sides that CaptureOptions name, as text for the content types that the configuration names."""
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    both = "InputAndOutput" in modes
    headers = config.get("CaptureContentTypeHeader", {})
    csv_types, json_types = (
        [known.lower() for known in headers.get(name, ())] for name in ("CsvContentTypes", "JsonContentTypes")
    )
    data = {}
    if both or "Input" in modes:
        data["endpointInput"] = side(INPUT, request, csv_types, json_types)
    if both or "Output" in modes:
        data["endpointOutput"] = side(OUTPUT, response, csv_types, json_types)
    return data
