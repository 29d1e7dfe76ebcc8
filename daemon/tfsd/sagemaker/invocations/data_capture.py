"""Data capture: requests and responses of an endpoint as JSON lines in S3, in the format of SageMaker's Model Monitor.

Owns what has been captured and not stored yet. Lines of one endpoint and variant become one object each few seconds,
`DESTINATION/ENDPOINT/VARIANT/yyyy/mm/dd/hh/….jsonl`, as "Capture data from real-time endpoint" has it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import gevent

from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError, split_uri

STORE_SECONDS = 2
MAX_LINES = 5000

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Captured:
    """One side of an invocation: the body and its content type, which may not be known."""

    body: bytes
    content_type: str | None


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
        request: Captured,
        response: Captured,
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
        metadata = {
            "eventId": str(uuid.uuid4()),
            "customAttributes": [custom_attributes] if custom_attributes else None,
            "inferenceId": inference_id,
            "inferenceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        }
        event = {
            "captureData": captured_data(config, request, response),
            "eventMetadata": {name: value for name, value in metadata.items() if value is not None},
            "eventVersion": "0",
        }
        hour = time.strftime("%Y/%m/%d/%H", time.gmtime(now))
        self._add(f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint}/{variant}/{hour}", json.dumps(event))

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
        except (ObjectStoreError, ValueError) as error:
            log.error("captured data is lost: %s", error)


def captured_data(config: dict[str, Any], request: Captured, response: Captured) -> dict[str, Any]:
    """`captureData`: the sides that CaptureOptions name."""
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    both = "InputAndOutput" in modes
    headers = config.get("CaptureContentTypeHeader", {})
    data = {}
    if both or "Input" in modes:
        data["endpointInput"] = _side(headers, request, "INPUT")
    if both or "Output" in modes:
        data["endpointOutput"] = _side(headers, response, "OUTPUT")
    return data


def _side(headers: dict[str, list[str]], captured: Captured, mode: str) -> dict[str, Any]:
    """Text for the content types that the configuration names, Base64 for all others."""
    encoding, data = "BASE64", base64.b64encode(captured.body).decode()
    media_type = (captured.content_type or "").partition(";")[0].strip().lower()
    for kind, types in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media_type in (known.lower() for known in headers.get(types, ())):
            encoding, data = kind, captured.body.decode("utf-8", "replace")
    side = {"observedContentType": captured.content_type, "mode": mode, "data": data, "encoding": encoding}
    return {name: value for name, value in side.items() if value is not None}
