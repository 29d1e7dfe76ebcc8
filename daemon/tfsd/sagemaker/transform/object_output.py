"""The output of one object: answers put together in order, in a file beside the objects, which is stored when whole.

Nothing is stored for an object that failed. AssembleWith=Line ends every answer, or every record that was filtered or
joined, with a newline; None puts answers one after another as they came.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import BinaryIO

import gevent

from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.transform.inputs import InputObject, output_key
from tfsd.sagemaker.transform.payloads import Payload, StreamedPayload
from tfsd.sagemaker.transform.specification import Specification
from tfsd.sagemaker.transform.splitting import lines_of, split
from tfsd.sagemaker.transform.turns import TURN_RECORDS

COPIED_BYTES = 1 << 20


class ObjectOutput:
    """Takes the answers for one object. `store` or `discard` ends it."""

    def __init__(self, source: InputObject, job: Specification, objects: ObjectStore) -> None:
        self.source = source
        self.error: Exception | None = None
        self._job = job
        self._objects = objects
        self._path = objects.temporary_file()
        self._file: BinaryIO | None = None

    def add(self, payload: Payload | StreamedPayload, answer: BinaryIO) -> None:
        """Append the answer to the payload that follows the last one. Raises TransformError."""
        if self._file is None:
            self._file = self._path.open("wb")
        processing = self._job.processing
        with answer:
            if processing is None or not processing.finishes_output:
                self._append(answer)
                return
            by_line = processing.output_format.by_line
            if by_line and isinstance(payload, Payload):  # all of it is in memory
                results: Iterable[bytes] = lines_of(answer.read())
            else:
                results = split(answer, "Line" if by_line else "None", None)
            finished = processing.finish(payload.inputs(), results)
            end = b"\n" if by_line or self._job.assemble_by_line else b""
            while records := list(itertools.islice(finished, TURN_RECORDS)):
                self._file.write(end.join(records) + end)
                gevent.sleep()

    def _append(self, answer: BinaryIO) -> None:
        assert self._file
        last = b""
        while piece := answer.read(COPIED_BYTES):
            self._file.write(piece)
            last = piece[-1:]
        if self._job.assemble_by_line and last != b"\n":
            self._file.write(b"\n")

    def store(self) -> None:
        """Make it an object, with the content type that was asked for."""
        if self._file is None:  # an object without records
            self._file = self._path.open("wb")
        self._file.close()
        bucket, key = output_key(self._job.output_path, self.source.relative)
        self._objects.put_file(bucket, key, self._path, self._job.accept or "application/octet-stream")

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)
