"""Inference and metadata of the Open Inference Protocol, as modes of a worker.

Owns the way from a request to the model server's Predict and back, and what is checked against the signature first: the
names and dtypes. Whether shapes fit is the model server's judgement, since a graph may well reshape its input.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tensorflow_serving.apis import predict_pb2

from tfsd.errors import MODEL_SERVER, UNAVAILABLE, BadRequest, HttpError
from tfsd.tensors.dtypes import DTYPES, DType
from tfsd.tensors.messages import BadMessage, predict_request, predict_response
from tfsd.tensors.values import NoArray, dtype_name
from tfsd.worker.call import Call
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.prediction_service import SERVING_DEFAULT, PredictionService, Signature
from tfsd.worker.replies import Reply
from tfsd.worker.v2.infer_request import InferRequest, parse
from tfsd.worker.v2.infer_response import render

PLATFORM = "tensorflow_savedmodel"
HINT = "The parameter signature_name chooses one."
READY_SECONDS = 1.0  # who asks whether a model is ready does not wait until it is


class Inference:
    """What can be asked of a model; each method is a mode. Raises (every method) HttpError."""

    def __init__(self, service: PredictionService, inflater: Inflater) -> None:
        self._service = service
        self._inflater = inflater

    def ready(self, call: Call) -> Reply:
        """200 when the version that is asked for, or any, can be used; else 503."""
        answer = replace(call, deadline=time.monotonic() + READY_SECONDS).get("")
        states = [
            (int(version["version"]), version["state"])
            for version in json.loads(answer.body).get("model_version_status", ())
        ]
        asked = call.target.asked_version
        ready = any(state == "AVAILABLE" and asked in (None, version) for version, state in states)
        document: dict[str, Any] = {"name": call.target.name, "ready": ready}
        if not ready:
            told = (
                ", ".join(f"version {version} is {state}" for version, state in states) or "it has no version"
            )
            document["error"] = f"Model {call.target.name!r} is not ready: {told}."
        return _json(document, 200 if ready else 503, UNAVAILABLE)

    def metadata(self, call: Call, versions: list[str], signature_name: str) -> Reply:
        """The inputs and outputs of a signature."""
        signature = self._service.signature(call.target, call.deadline, signature_name, HINT)
        document: dict[str, Any] = {"name": call.target.name, "versions": versions, "platform": PLATFORM}
        for side in ("inputs", "outputs"):
            document[side] = [
                {
                    "name": name,
                    "datatype": _datatype(tensor.dtype),
                    "shape": [-1] if tensor.shape is None else list(tensor.shape),
                }
                for name, tensor in sorted(getattr(signature, side).items())
            ]
        return _json(document)

    def infer(self, call: Call) -> Reply:
        """Run a signature."""
        environ = call.environ
        with self._inflater.decoded(call.data.read(), environ.get("HTTP_CONTENT_ENCODING")) as body:
            request = parse(body, environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"))
            name = request.parameters.get("signature_name", SERVING_DEFAULT)
            if not isinstance(name, str):
                raise BadRequest("parameters.signature_name must be a string.")
            signature = self._service.signature(call.target, call.deadline, name, HINT)
            _check(request, signature)
            spec = self._service.spec(call.target)
            spec.signature_name = name
            inputs = {key: (tensor.array, tensor.dtype.number) for key, tensor in request.inputs.items()}
            # the model server computes and sends no other outputs
            wanted = predict_pb2.PredictRequest(output_filter=list(request.outputs)).SerializeToString()
            pieces = [*predict_request(spec, inputs), wanted]
            answer = self._service.predict_pieces(pieces, call.target, call.deadline)
        try:
            arrays, spec = predict_response(answer)
        except (BadMessage, NoArray) as error:
            raise HttpError(500, f"The model's response cannot be sent: {error}.") from None
        self._service.check_version(spec, call.target)
        head = {"model_name": call.target.name, "model_version": str(spec.version.value)}
        if request.id is not None:
            head["id"] = request.id
        names = list(request.outputs) or sorted(arrays)
        headers, content = render(
            head,
            {name: (_dtype(signature, name), arrays[name]) for name in names},
            {name: request.outputs.get(name, request.binary) for name in names},
        )
        return Reply(200, headers, content)


def _check(request: InferRequest, signature: Signature) -> None:
    """Raise BadRequest for inputs and outputs that the signature has not, or has of another dtype."""
    _check_names("input", request.inputs, signature.inputs)
    _check_names("output", request.outputs, signature.outputs)
    for name, tensor in request.inputs.items():
        wanted = signature.inputs[name]
        if tensor.dtype.number != wanted.dtype:
            raise BadRequest(f"Input {name!r} is of {_datatype(wanted.dtype)}, not {tensor.dtype.v2}.")
    missing = [name for name in sorted(signature.inputs) if name not in request.inputs]
    if missing:
        raise BadRequest(f"The request lacks the inputs {', '.join(map(repr, missing))}.")


def _check_names(kind: str, asked: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    unknown = next((name for name in asked if name not in known), None)
    if unknown is not None:
        names = ", ".join(map(repr, sorted(known)))
        raise BadRequest(f"There is no {kind} {unknown!r}; the signature has {names}.")


def _dtype(signature: Signature, name: str) -> DType:
    number = signature.outputs[name].dtype
    dtype = DTYPES.get(number)
    if dtype is None or not dtype.v2:
        raise BadRequest(
            f"Output {name!r} is of {dtype_name(number)}, which the protocol has no name for; ask for "
            "other outputs."
        )
    return dtype


def _datatype(number: int) -> str:
    """The protocol's name of a dtype, TensorFlow's where it has none."""
    dtype = DTYPES.get(number)
    return dtype.v2 if dtype and dtype.v2 else dtype_name(number)


def _json(document: dict[str, Any], status: int = 200, cause: str = MODEL_SERVER) -> Reply:
    return Reply(status, [("Content-Type", "application/json")], json.dumps(document).encode(), cause)
