"""Request headers as they are read."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tfsd.wsgi import Headers

NAMES = st.text("abcXYZ-0129_", min_size=1)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f\x85"))


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_headers_are_read_as_written(pairs: list[Any]) -> None:
    raw = "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
    stream = io.BytesIO(raw.encode("latin-1") + b"body")
    headers = Headers(stream)
    assert not headers.status
    assert headers.pairs == [(name, value.strip()) for name, value in pairs]
    assert stream.read() == b"body"


@given(st.binary())
def test_any_bytes_are_headers_or_refused(raw: bytes) -> None:
    headers = Headers(io.BytesIO(raw))
    assert headers.status or b"\n" in raw
