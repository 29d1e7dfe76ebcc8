"""Reading of Content-Type and decoding of a body by its charset.

Owns media types with their parameters (RFC 9110, section 8.3) and the way from bytes in any charset to
UTF-8. Knows nothing of what the content means.
"""

import codecs
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from tfsd.errors import BadRequest, UnsupportedMediaType

_PARAMETER = re.compile(r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}").fullmatch
# Python's own codecs that no client means by a charset; two of them take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
_MARKS = (  # the longer mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REMEMBERED = 256  # headers


class MediaType(NamedTuple):
    """A media type in lower case, such as `text/csv`, and its parameters by lower-case name."""

    name: str
    parameters: Mapping[str, str]


@lru_cache(_REMEMBERED)
def parse(header: str) -> MediaType:
    """Split a Content-Type; capitals and blanks make no difference, quoted parameter values are unquoted."""
    name, semicolon, _ = header.partition(";")
    parameters: dict[str, str] = {}
    if semicolon:
        for key, quoted, plain in _PARAMETER.findall(header):
            parameters.setdefault(key.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    return MediaType(name.strip().lower(), MappingProxyType(parameters))


def to_utf8(body: bytes, charset: str | None) -> bytes:
    """Return `body` as valid UTF-8 without a byte order mark; a body that is so already is not copied.

    A mark of UTF-16 or UTF-32 decides unless `charset` names something outside that family (RFC 8259 allows
    reading such JSON; spreadsheets export such CSV). `charset` None means UTF-8.

    Raises:
        UnsupportedMediaType: no such charset.
        BadRequest: bytes that the charset does not allow; the message names the line.
    """
    codec = _codec(charset)
    if codec == "utf-8" and body.isascii():  # no mark is of ASCII
        return body
    if codec.startswith("utf"):
        codec = next((marked for mark, marked in _MARKS if body.startswith(mark)), codec)
    try:
        if codec == "utf-8":
            body.decode()
            return body.removeprefix(codecs.BOM_UTF8)
        if codec == "utf-16" and body[:1] == b"\0":
            codec = "utf-16-be"  # without a mark: CSV and JSON begin with ASCII, so a zero comes first
        return body.decode(codec).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        line = line_at(body, error.start) if codec == "utf-8" else None
        where = f"Line {line}: byte" if line else "Byte"
        raise BadRequest(
            f"{where} {error.start} of the body is not {codec} ({error.reason}); send {codec},"
            " or name the body's encoding in Content-Type, for example 'charset=iso-8859-1'."
        ) from None
    except (UnicodeError, LookupError):
        raise BadRequest(f"The body is not valid {codec}; name its encoding in Content-Type.") from None


def line_at(body: bytes, offset: int) -> int:
    """Number of the line, counted from 1, on which the byte at `offset` lies; CR, LF and CRLF end a line."""
    before = body[:offset]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _codec(charset: str | None) -> str:
    if charset is None or charset.lower() in ("utf-8", "utf8", "us-ascii", "ascii"):
        return "utf-8"
    try:
        if not _CHARSET_NAME(charset):
            raise LookupError
        name = codecs.lookup(charset).name
        "".encode(name)  # refuses codecs that turn bytes into bytes, such as base64
    except (LookupError, UnicodeError):
        name = "undefined"
    if name.replace("-", "_") in _NO_CHARSETS:
        raise UnsupportedMediaType(f"Charset {charset[:40]!r} in Content-Type is unknown; send UTF-8.")
    return name
