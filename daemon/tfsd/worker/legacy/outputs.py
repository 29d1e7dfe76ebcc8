"""The output half of the `input_fn`/`output_fn` endpoint: the default output_fn.

Owns the forms of a response there. Knows nothing of requests or of user code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import predict_pb2, regression_pb2

from tfsd.tensors.values import to_array
from tfsd.worker.conversion import accept, csv_instances
from tfsd.worker.conversion.accept import NotAcceptable
from tfsd.worker.legacy.inputs import CSV, JSON, PROTOBUF
from tfsd.worker.legacy.response_json import predict_response

_RAW_BYTES = "surrogateescape"  # text that is not UTF-8 keeps its bytes
OFFERED = (JSON, PROTOBUF, CSV)


def default_output_fn(response: Any, accepts: str) -> tuple[bytes, str]:
    """The body and its content type for a response message. `accepts` is an Accept header. Raises NotAcceptable."""
    content_type = accept.acceptable(accepts, OFFERED, JSON)
    if content_type == JSON:
        return to_json(response), JSON
    if content_type == PROTOBUF:
        return response.SerializeToString(), PROTOBUF
    if content_type == CSV:
        return to_csv(response), CSV
    raise NotAcceptable(
        f"Accept {accepts!r} is not supported; ask for {', '.join(OFFERED)}, or define output_fn."
    )


def to_json(response: Any) -> bytes:
    """The message in protobuf's JSON mapping, on one line. A score or a value of 0, which the mapping would
    leave out, is written."""
    if isinstance(response, predict_pb2.PredictResponse):
        return predict_response(response)
    text = json_format.MessageToJson(
        response, indent=None, always_print_fields_with_no_presence=True, ensure_ascii=False
    )
    return text.encode()


def to_csv(response: Any) -> bytes:
    """The single output tensor as rows along its first dimension, each flattened; a scalar is one row. The values
    of a regression are a row each. Raises NotAcceptable."""
    if isinstance(response, regression_pb2.RegressionResponse):
        return _lines([[regression.value] for regression in response.result.regressions])
    if not isinstance(response, predict_pb2.PredictResponse):
        raise NotAcceptable(f"A {type(response).__name__} cannot be converted to CSV; ask for {JSON}.")
    if len(response.outputs) != 1:
        names = ", ".join(repr(name) for name in sorted(response.outputs))
        raise NotAcceptable(
            f"CSV takes a model with one output; this one has {names}. Ask for {JSON}, or define output_fn."
        )
    tensor = next(iter(response.outputs.values()))
    try:
        array = to_array(tensor)
    except ValueError as error:
        raise NotAcceptable(f"The output cannot be converted to CSV: {error}; ask for {JSON}.") from None
    return _lines(array.reshape(array.shape[0] if array.ndim else 1, -1) if array.size else [])


def _lines(rows: Sequence[Any]) -> bytes:
    lines = [",".join([_field(value) for value in row]) + "\n" for row in rows]
    return "".join(lines).encode(errors=_RAW_BYTES)


def _field(value: Any) -> str:
    """A number, or text, which is quoted where it would otherwise be read as something else (RFC 4180)."""
    if not isinstance(value, bytes):
        return str(value)
    return csv_instances.to_field(value.decode(errors=_RAW_BYTES))
