"""The JSON codec of the REST API: bodies to arrays and examples, results to bodies.

The one door to the other modules here. Never sees a socket, a servable or TensorFlow.
"""

from __future__ import annotations

import numpy as np

from tfsd.model_server.codec import decode
from tfsd.model_server.codec.decode import FindInputs, Inputs
from tfsd.model_server.codec.dense import collector_at_rest, is_dense, read_flat, refuse_empty_containers
from tfsd.model_server.codec.encode import encode_classifications, encode_predictions, encode_regressions
from tfsd.model_server.codec.examples import decode_examples
from tfsd.model_server.codec.parse import JsonValue
from tfsd.model_server.codec.parse import parse as parse_bytes
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
    "parse",
]


def parse(body: bytes | bytearray) -> JsonValue:
    """The JSON value of a body, for `decode_examples`. Raises ServingError: INVALID_ARGUMENT."""
    refuse_empty_containers(body)
    with collector_at_rest(len(body)):
        return parse_bytes(bytes(body))


def decode_predict(
    body: bytes | bytearray, find_inputs: FindInputs
) -> tuple[str, bool, dict[str, np.ndarray]]:
    """A :predict body.

    Args:
        body: the bytes of the request.
        find_inputs: signature name (empty: the default one) -> {input name: TensorFlow dtype number}; it
            may be called twice.
    Returns: the signature's name as sent, whether it is row format (`instances`), and input name -> array;
        strings are object arrays of bytes.
    Raises ServingError: as tensorflow_model_server 2.20 words it.
    """
    refuse_empty_containers(body)
    with collector_at_rest(len(body)):
        try:
            flat = read_flat(body, find_inputs) if is_dense(body) else None
            return flat or decode.decode_predict(parse_bytes(bytes(body)), find_inputs)
        except ServingError as error:
            # its frames hold the body's values, which the collector would look at as soon as it is back
            error.__context__ = None
            refused = error.with_traceback(None)
    raise refused
