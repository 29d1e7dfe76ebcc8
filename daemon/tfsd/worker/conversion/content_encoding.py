"""Undoing of a request's Content-Encoding.

Owns decompression and the limit on what a body may grow to. Nothing else in the worker handles compressed
bytes.
"""

import contextlib
import zlib
from collections.abc import Iterator

from tfsd.errors import BadRequest, HttpError, PayloadTooLarge, UnsupportedMediaType

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way of asking for a gzip header and trailer
# What is fed at once. A body of many small gzip members copies the rest of a piece for each of them.
_PIECE = 16 * 1024


class Inflater:
    """Inflates bodies and keeps count of those that are held: one client's megabyte may become a thousand."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is for one body, and for all of them together (SAGEMAKER_TFS_MAX_INFLATED_MB)."""
        self._max_bytes = max_bytes
        self._held = 0

    def decoded(self, body: bytes, content_encoding: str | None) -> contextlib.AbstractContextManager[bytes]:
        """The body without its Content-Encoding, which counts as held inside. Raises what `decode` raises, and
        HttpError 503 when too much is held already."""
        return self._decoded(body, content_encoding) if content_encoding else contextlib.nullcontext(body)

    @contextlib.contextmanager
    def _decoded(self, body: bytes, content_encoding: str) -> Iterator[bytes]:
        with self.room() as room:
            inflated = decode(body, content_encoding, room)
        with self.holding(0 if inflated is body else len(inflated)):
            yield inflated

    @contextlib.contextmanager
    def room(self) -> Iterator[int]:
        """What a body may grow to just now, in bytes. Raises HttpError 503 in place of PayloadTooLarge when others are
        held: there will be more room."""
        try:
            yield self._max_bytes - self._held
        except PayloadTooLarge:
            if not self._held:
                raise
            raise HttpError(
                503,
                "Other compressed requests take the worker's memory just now; try again.",
                {"Retry-After": "1"},
            ) from None

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count `size` inflated bytes as held inside."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def decode(body: bytes, content_encoding: str | None, max_size: int) -> bytes:
    """Return the body without its Content-Encoding: `gzip` (`x-gzip`) or `identity`, in any case.

    Args:
        max_size: what the decompressed body may grow to, in bytes.

    Raises:
        UnsupportedMediaType: another coding, or several.
        BadRequest: not gzip, damaged or cut short.
        PayloadTooLarge: larger than `max_size`.
    """
    if not content_encoding:
        return body
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return body
    if codings not in (["gzip"], ["x-gzip"]):
        raise UnsupportedMediaType(
            f"Content-Encoding {content_encoding[:60]!r} is not supported; send gzip, or no encoding."
        )
    return _gunzip(body, max_size)


def _gunzip(body: bytes, max_size: int) -> bytes:
    inflated: list[bytes] = []
    room = max_size
    member = zlib.decompressobj(_GZIP)
    untouched = True  # whether the current member has seen any byte
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        piece: bytes | memoryview = view[start : start + _PIECE]
        while piece:
            if untouched and inflated and not bytes(piece).strip(b"\0"):
                break  # gzip pads with zeros
            try:
                data = member.decompress(piece, room + 1)
            except zlib.error as error:
                raise BadRequest(
                    f"Content-Encoding is gzip but the body is not valid gzip ({error});"
                    " compress it again, or leave the header out."
                ) from None
            inflated.append(data)
            untouched = False
            room -= len(data)
            if room < 0:
                raise PayloadTooLarge(
                    f"The body inflates to more than {max_size} bytes; send less at a time, or raise"
                    " SAGEMAKER_TFS_MAX_INFLATED_MB."
                )
            piece = member.unused_data
            if member.eof:
                member, untouched = zlib.decompressobj(_GZIP), True
    if not untouched or not inflated:
        raise BadRequest("Content-Encoding is gzip, but the body is cut short; send all of it.")
    return b"".join(inflated)
