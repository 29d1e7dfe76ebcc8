"""Results of classifications and regressions in protobuf's wire form.

Written by hand because a label may be no UTF-8: the real server sends such bytes as they are, and the message
classes refuse them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tfsd.model_server.runtime.inference import Classification
from tfsd.model_server.varint import varint

_NO_SCORE = bytes(4)


def field(number: int, payload: bytes) -> bytes:
    """A field whose value is bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def _float(number: int, value: float) -> bytes:
    """A float field; left out when it is zero, which is its default."""
    packed = struct.pack("<f", value)
    return b"" if packed == _NO_SCORE else varint(number << 3 | 5) + packed


def classification_result(rows: Iterable[Classification]) -> bytes:
    """A `ClassificationResult`: classifications = 1 { classes = 1 { label = 1, score = 2 } }."""
    return b"".join(
        field(1, b"".join(field(1, _class(label, score)) for label, score in classes)) for classes in rows
    )


def _class(label: bytes, score: float) -> bytes:
    return (field(1, label) if label else b"") + _float(2, score)


def regression_result(values: Iterable[float]) -> bytes:
    """A `RegressionResult`: regressions = 1 { value = 1 }."""
    return b"".join(field(1, _float(1, value)) for value in values)
