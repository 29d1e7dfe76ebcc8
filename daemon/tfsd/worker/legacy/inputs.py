"""The input half of the `input_fn`/`output_fn` endpoint: the default input_fn, and requests from its results.

Owns what a content type means there and what input_fn may return. Never calls a model server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from tfsd.errors import BadRequest, UnsupportedMediaType
from tfsd.worker.conversion import csv_rows, limits
from tfsd.worker.legacy.examples import examples
from tfsd.worker.legacy.tensors import check_size, fill, with_fitted_shape
from tfsd.worker.prediction_service import CLASSIFY, PREDICT, REGRESS, VERBS, Signature, TensorInfo

JSON, CSV, PROTOBUF = "application/json", "text/csv", "application/octet-stream"
TEXT_TYPES = (JSON, CSV)
ONLY_INPUT = "inputs"  # takes a value that names no input, also when there are others
REQUESTS = {
    PREDICT: predict_pb2.PredictRequest,
    CLASSIFY: classification_pb2.ClassificationRequest,
    REGRESS: regression_pb2.RegressionRequest,
}


def default_input_fn(serialized: Any, content_type: str, signature: Signature) -> Any:
    """What the endpoint makes of a body when the script has no input_fn.

    Args:
        serialized: str for JSON and CSV, bytes otherwise.
        content_type: without parameters, in lower case.
    Raises BadRequest, UnsupportedMediaType.
    """
    if content_type == JSON:
        return parse_json(serialized, tensors=signature.method == PREDICT)
    if content_type == CSV:
        return parse_csv(serialized)
    if content_type == PROTOBUF:
        request = REQUESTS.get(signature.method, inference_pb2.MultiInferenceRequest)()
        try:
            request.ParseFromString(serialized)
        except DecodeError:
            raise BadRequest(f"The body is not a serialized {type(request).__name__}.") from None
        return request
    raise UnsupportedMediaType(
        f"Content type {content_type!r} is not supported; send {JSON}, {CSV} or {PROTOBUF}, or define input_fn."
    )


def parse_json(text: str, tensors: bool) -> Any:
    """The JSON value, or a TensorProto if it is one in protobuf's JSON mapping and `tensors` allows it.

    Raises BadRequest.
    """
    limits.check(text.encode())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}") from None
    if tensors and isinstance(value, dict) and value:
        try:
            return json_format.ParseDict(value, tensor_pb2.TensorProto())
        except (json_format.ParseError, ValueError, TypeError):
            pass  # a dict of inputs
    return value


def parse_csv(text: str) -> list[Any]:
    """All rows as lists of floats; a single row is one flat list. Raises BadRequest, naming the line."""
    rows: list[list[float]] = []
    for line, fields in csv_rows.rows(text):
        if len(fields) == 1 and not fields[0].strip():
            continue
        try:
            rows.append([float(field.removeprefix(csv_rows.QUOTED)) for field in fields])
        except ValueError as error:
            raise BadRequest(f"Line {line}: {error}; send rows of numbers, or define input_fn.") from None
        if len(fields) != len(rows[0]):
            raise BadRequest(
                f"Line {line} has {len(fields)} fields and the first row has {len(rows[0])}; every row needs "
                "as many fields as the first."
            )
    if not rows:
        raise BadRequest("Line 1: the body has no rows; send at least one line of CSV.")
    return rows[0] if len(rows) == 1 else rows


def to_request(value: Any, signature: Callable[[], Signature]) -> Any:
    """The request for what input_fn returned; a request is sent as it is, without asking for the signature.

    Raises BadRequest, ShapeMismatch.
    """
    if isinstance(value, predict_pb2.PredictRequest):
        for name, tensor in value.inputs.items():
            check_size(tensor, name)
    if type(value) in VERBS:
        return value
    known = signature()
    if known.method == PREDICT:
        return _predict_request(value, known.inputs)
    if known.method not in (CLASSIFY, REGRESS):
        raise BadRequest(
            f"The model's signature has the method {known.method!r}; let input_fn return the request for it."
        )
    if isinstance(value, tensor_pb2.TensorProto):
        raise BadRequest(f"The model's signature takes tf.Examples ({known.method}), not a TensorProto.")
    request = REQUESTS[known.method]()
    request.input.example_list.examples.extend(examples(value))
    return request


def _predict_request(value: Any, inputs: Mapping[str, TensorInfo]) -> Any:
    request = predict_pb2.PredictRequest()
    if not isinstance(value, Mapping):
        value = {_only_input(inputs): value}
    for name, item in value.items():
        known = inputs.get(name)
        if known is None:
            raise BadRequest(f"The model has no input {name!r}; its inputs are {_listed(inputs)}.")
        if isinstance(item, tensor_pb2.TensorProto):
            check_size(item, name)
            request.inputs[name].CopyFrom(with_fitted_shape(item, known.shape))
        else:
            fill(request.inputs[name], item, known.dtype, known.shape, name)
    return request


def _only_input(inputs: Mapping[str, TensorInfo]) -> str:
    if len(inputs) == 1:
        return next(iter(inputs))
    if ONLY_INPUT in inputs:
        return ONLY_INPUT
    raise BadRequest(f"The model has several inputs, {_listed(inputs)}; send an object keyed by their names.")


def _listed(inputs: Mapping[str, TensorInfo]) -> str:
    return ", ".join(repr(name) for name in sorted(inputs))
