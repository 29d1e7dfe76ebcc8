"""Results in protobuf's wire form.

Written by hand: those of classifications and regressions because a label may be no UTF-8, which the real server sends
as it is and the message classes refuse, a prediction because a message class would copy its tensors twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime.inference import Classification
from tfsd.model_server.varint import field, varint

_NO_SCORE = bytes(4)
MAX_MESSAGE = 2**31 - 1


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


def predict_response(tensors: Mapping[str, Sequence[bytes]], spec: bytes) -> bytes:
    """A `PredictResponse`: outputs = 1 { key = 1, value = 2 }, model_spec = 2.

    Args:
        tensors: output alias -> the pieces of a serialized `TensorProto`.
        spec: a serialized `ModelSpec`.
    Raises ServingError: INTERNAL, it is larger than a message can be.
    """
    pieces: list[bytes] = []
    for alias, tensor in tensors.items():
        pieces += (_output_head(alias, sum(map(len, tensor))), *tensor)
    pieces.append(field(2, spec))
    if sum(map(len, pieces)) > MAX_MESSAGE:
        raise ServingError(Code.INTERNAL, "The response is larger than 2 GiB, which no message may be.")
    return b"".join(pieces)


@lru_cache
def _output_head(alias: str, size: int) -> bytes:
    """What precedes a `TensorProto` of that size among the outputs."""
    start = field(1, alias.encode()) + b"\x12" + varint(size)
    return b"\x0a" + varint(len(start) + size) + start
