"""Requests of a job to one instance: what the container says of itself, then payloads, with limit and retries."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import tempfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import gevent

from tfsd.sagemaker.instances.instance import Instance, Response
from tfsd.sagemaker.transform.errors import AlgorithmError
from tfsd.sagemaker.transform.payloads import Packing, Payload, StreamedPayload
from tfsd.sagemaker.transform.specification import DEFAULT_PAYLOAD_MB, Specification

log = logging.getLogger(__name__)

SPOOLED_BYTES = 2**20  # of an answer to a streamed payload; what is longer lies in a file
FIRST_PAUSE_SECONDS = 0.5
MAX_MESSAGE_CHARACTERS = 400
RETRIED_STATUSES = frozenset({408, 429, *range(500, 600)})


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a job does on an instance: its own word first, then the container's, then SageMaker's defaults."""

    max_concurrent: int
    packing: Packing

    def __str__(self) -> str:
        strategy = "SINGLE_RECORD" if self.packing.single_record else "MULTI_RECORD"
        return (
            f"MaxConcurrentTransforms={self.max_concurrent}, MaxPayloadInMB={self.packing.max_payload_mb}, "
            f"BatchStrategy={strategy}"
        )


def parameters(job: Specification, instance: Instance) -> Parameters:
    """Ask the container for `/execution-parameters`, which it need not have."""
    said = _execution_parameters(instance)
    payload = job.max_payload_mb
    if payload is None:
        payload = _positive(said.get("MaxPayloadInMB")) or DEFAULT_PAYLOAD_MB
    strategy = job.batch_strategy or str(said.get("BatchStrategy", ""))
    single = strategy.replace("_", "").lower() == "singlerecord" and job.record_split != "None"
    concurrent = job.max_concurrent or _positive(said.get("MaxConcurrentTransforms")) or 1
    return Parameters(concurrent, Packing(job.record_split, job.gzip, single, payload, job.processing))


def _execution_parameters(instance: Instance) -> dict[str, Any]:
    try:
        response = instance.get("/execution-parameters")
        document = json.loads(response.read()) if response.status == 200 else {}
    except (OSError, ValueError) as error:
        log.warning("/execution-parameters of a container cannot be used: %s.", error)
        return {}
    return document if isinstance(document, dict) else {}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


class Sender:
    """Sends payloads to one instance, each until it is answered or its retries are used up."""

    def __init__(self, instance: Instance, job: Specification) -> None:
        self._instance = instance
        self._seconds = job.timeout_seconds
        self._attempts = 1 + job.max_retries
        headers = {"Content-Type": job.content_type, "Accept": job.accept}
        self._headers: Mapping[str, str] = {name: value for name, value in headers.items() if value}

    def send(self, payload: Payload | StreamedPayload) -> BinaryIO:
        """The answer's body, of a status that is no error. Raises AlgorithmError."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, self._attempts + 1):
            try:
                response = self._instance.invoke(payload.body(), self._headers, self._seconds)
                if response.status < 400:
                    return _body(response, payload)
                error = _refusal(response)
                if response.status not in RETRIED_STATUSES:
                    raise error
            except TimeoutError:
                error = AlgorithmError(f"The container did not answer within {self._seconds} seconds.")
            except OSError as failure:
                error = AlgorithmError(f"The container cannot be reached: {failure}.")
            if attempt < self._attempts:
                gevent.sleep(pause)
                pause *= 2
        raise error


def _body(response: Response, payload: Payload | StreamedPayload) -> BinaryIO:
    if isinstance(payload, Payload):
        return io.BytesIO(response.read())
    spooled = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115  # closed by who reads it
    for chunk in response.chunks():
        spooled.write(chunk)
    spooled.seek(0)
    return spooled  # type: ignore[return-value]  # a BinaryIO in all but name


def _refusal(response: Response) -> AlgorithmError:
    """SageMaker's text, and the container's own message, which says what is wrong."""
    message = response.read().decode(errors="replace").strip()
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = message[:MAX_MESSAGE_CHARACTERS] + "…"
    return AlgorithmError(f"Bad HTTP status received from algorithm: {response.status}: {message}")
