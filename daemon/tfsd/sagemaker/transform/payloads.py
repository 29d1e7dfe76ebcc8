"""What is sent in one request: as many records as fit (MultiRecord), one (SingleRecord), or a stream of all of them.

Owns the packing. A payload's body can be had again for another attempt, and so can the records that it was made of, to
which the answer is joined: those of a streamed payload are read from the object anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from tfsd.sagemaker.transform.data_processing import DataProcessing
from tfsd.sagemaker.transform.errors import DataError
from tfsd.sagemaker.transform.splitting import decompressed, line_blocks, split
from tfsd.sagemaker.transform.turns import in_turns

MEGABYTE = 2**20
STREAM_PIECE_BYTES = 1 << 16
SEPARATORS = {"Line": b"\n"}


@dataclasses.dataclass(frozen=True)
class Payload:
    """The body is what is sent. `records` are those before any filter (None: the body's lines), `count` how many."""

    content: bytes
    records: list[bytes] | None
    count: int
    chunked: bool

    def body(self) -> bytes | Iterator[bytes]:
        return iter([self.content]) if self.chunked else self.content

    def inputs(self) -> Iterable[bytes]:
        return self.content.split(b"\n") if self.records is None else self.records


@dataclasses.dataclass
class StreamedPayload:
    """All of an object in one chunked request (MaxPayloadInMB 0); `count` grows while it is sent."""

    contents: Callable[[], Iterator[bytes]]
    read_records: Callable[[], Iterator[bytes]]
    count: int = 0

    def body(self) -> Iterator[bytes]:
        """Chunks of some size, however short the records are."""
        self.count = 0
        gathered: list[bytes] = []
        size = 0
        for content in self.contents():
            self.count += 1
            gathered.append(content)
            size += len(content)
            if size >= STREAM_PIECE_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
        if size:
            yield b"".join(gathered)

    def inputs(self) -> Iterator[bytes]:
        return self.read_records()


@dataclasses.dataclass(frozen=True)
class Packing:
    """How the objects of a job become payloads, after everyone who has a say has been asked."""

    split_type: str
    gzip: bool
    single_record: bool
    max_payload_mb: int
    processing: DataProcessing | None

    def payloads(self, open_object: Callable[[], BinaryIO]) -> Iterator[Payload | StreamedPayload]:
        """The payloads of one object, in order; each is made when it is asked for. Raises DataError."""
        if self.max_payload_mb == 0 and not self.single_record:
            yield self._streamed(open_object)
        elif self.single_record or self.split_type == "None":
            for record, content in self._with_contents(self._records(open_object)):
                yield Payload(content, [record] if self._joins else [], 1, self.max_payload_mb == 0)
        else:
            yield from self._packed(open_object)

    @property
    def _joins(self) -> bool:
        return self.processing is not None and self.processing.join_input

    @property
    def _filters(self) -> bool:
        return self.processing is not None and self.processing.filters_input

    @property
    def _limit(self) -> int | None:
        return self.max_payload_mb * MEGABYTE or None

    def _records(self, open_object: Callable[[], BinaryIO]) -> Iterator[bytes]:
        with open_object() as file:
            stream = decompressed(file) if self.gzip else file
            records = split(stream, self.split_type, self._limit, padding=not self.single_record)
            yield from in_turns(records)

    def _packed(self, open_object: Callable[[], BinaryIO]) -> Iterator[Payload]:
        """As many records as fit in the limit, separated as the object separated them."""
        if self.split_type == "Line" and not self._filters:
            yield from self._packed_lines(open_object)
            return
        separator = SEPARATORS.get(self.split_type, b"")
        limit, between, joins = self._limit, len(separator), self._joins
        assert limit is not None
        records: list[bytes] = []
        contents: list[bytes] = []
        size = -between
        for record, content in self._with_contents(self._records(open_object)):
            added = between + len(content)
            if size + added > limit:
                if len(content) > limit:
                    raise DataError("A filtered record is larger than MaxPayloadInMB allows.")
                yield self._payload(separator, contents, records)
                records, contents, size = [], [], -between
            contents.append(content)
            if joins:
                records.append(record)
            size += added
        if contents:
            yield self._payload(separator, contents, records)

    def _packed_lines(self, open_object: Callable[[], BinaryIO]) -> Iterator[Payload]:
        """The same for lines that are sent as they are."""
        with open_object() as file:
            assert self._limit is not None
            for lines, count in line_blocks(decompressed(file) if self.gzip else file, self._limit):
                yield Payload(lines, None, count, False)

    def _with_contents(self, records: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Each record, and what of it is sent."""
        if self.processing is None or not self._filters:
            return ((record, record) for record in records)
        keep = self.processing.filter_input
        return ((record, content) for record in records for content in keep([record]))

    @staticmethod
    def _payload(separator: bytes, contents: list[bytes], records: list[bytes]) -> Payload:
        return Payload(separator.join(contents), records, len(contents), False)

    def _streamed(self, open_object: Callable[[], BinaryIO]) -> StreamedPayload:
        """Records where there are some, so that they are counted and filtered; else the object in pieces."""

        def contents() -> Iterator[bytes]:
            separator, between = b"", SEPARATORS.get(self.split_type, b"")
            for _, content in self._with_contents(self._records(open_object)):
                yield separator + content
                separator = between

        def pieces() -> Iterator[bytes]:
            with open_object() as file:
                stream = decompressed(file) if self.gzip else file
                while piece := stream.read(STREAM_PIECE_BYTES):
                    yield piece

        whole = self.split_type == "None" and self.processing is None
        return StreamedPayload(pieces if whole else contents, lambda: self._records(open_object))
