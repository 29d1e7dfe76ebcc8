"""The JSON codec of the REST API: bodies to arrays and examples, results to bodies.

The one door to the other modules here. Never sees a socket, a servable or TensorFlow.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from tfsd.model_server.codec import decode, examples
from tfsd.model_server.codec.decode import FindInputs, Inputs
from tfsd.model_server.codec.encode import encode_classifications, encode_predictions, encode_regressions
from tfsd.model_server.codec.long_arrays import LONG_BYTES, LongBody, is_read
from tfsd.model_server.codec.parse import JsonValue, parse
from tfsd.model_server.codec.structure import count
from tfsd.model_server.codec.text import error_body
from tfsd.model_server.errors import ServingError

__all__ = [
    "FindInputs",
    "Inputs",
    "decode_examples",
    "decode_predict",
    "encode_classifications",
    "encode_predictions",
    "encode_regressions",
    "error_body",
]

#: Bodies of more bytes are parsed in blocks even if there are few marks in them: one in so many bytes.
PLAIN_BYTES, FEW_BYTES = 1 << 20, 64
_MARKS = (b"[", b"{", b'"')
Decoded = TypeVar("Decoded")
_resting = threading.Lock()


def decode_examples(body: bytes | bytearray) -> tuple[str, list[bytes]]:
    """A :classify or :regress body.

    Returns: the signature's name as sent, and serialized `tf.Example`s.
    Raises ServingError: as tensorflow_model_server 2.20 words it.
    """
    return _decoded(bytes(body), examples.decode_examples)


def decode_predict(
    body: bytes | bytearray, find_inputs: FindInputs
) -> tuple[str, bool, dict[str, np.ndarray]]:
    """A :predict body.

    Args:
        body: the bytes of the request.
        find_inputs: signature name (empty: the default one) -> {input name: TensorFlow dtype number}.
    Returns: the signature's name as sent, whether it is row format (`instances`), and input name -> array;
        strings are object arrays of bytes.
    Raises ServingError: as tensorflow_model_server 2.20 words it.
    """
    return _decoded(bytes(body), lambda value: decode.decode_predict(value, find_inputs))


def _decoded(body: bytes, decode_value: Callable[[JsonValue], Decoded]) -> Decoded:
    long = LongBody.find(body) if len(body) > LONG_BYTES and not _is_plain(body) else None
    if long is None:
        return decode_value(parse(body))
    refused: ServingError | None = None
    with _collector_at_rest():
        try:
            value = long.value()
            decoded = decode_value(value)
            if is_read(value):
                return decoded
        except ServingError as error:
            # its frames hold values, which the collector would look at as soon as it is back
            error.__context__ = None
            refused = error.with_traceback(None)
    long.check()  # what is wrong with the text comes before what is wrong with the values, wherever it is
    if refused is not None:
        raise refused
    return decoded


def _is_plain(body: bytes) -> bool:
    """Whether a body is not too long to be parsed at once, which is cheaper where next to all of it is numbers."""
    if len(body) > PLAIN_BYTES or b"N" in body or b"I" in body:
        return False
    return sum(count(body, mark) for mark in _MARKS) * FEW_BYTES < len(body)


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """No garbage is collected while a long body is decoded: there are no cycles in its values, which the collector
    would look at again and again.

    One thread at a time has it so; the collector works between two of them.
    """
    if not _resting.acquire(blocking=False):
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
        _resting.release()
