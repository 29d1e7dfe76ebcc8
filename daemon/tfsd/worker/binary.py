"""Requests and responses of arrays, where no user code reads them: NumPy files and tf.Examples.

Owns the way from a body to a gRPC call and from its outputs to what the client accepts. No tensor is JSON on the way; a
request of JSON or CSV for a response of arrays goes by the REST API, as all of its kind, and what comes is given the
dtypes of the model's signature. Imports gRPC and numpy: whoever may do without imports it late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec
import numpy as np
import orjson
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tfsd.errors import BadRequest
from tfsd.incoming import Arriving, Remainder
from tfsd.tensors import documents, npy, records, values
from tfsd.tensors.dtypes import DT_FLOAT, DT_STRING
from tfsd.tensors.messages import predict_request, predict_request_of, predict_response
from tfsd.tensors.values import Array, NoArray
from tfsd.worker.call import Call
from tfsd.worker.conversion.accept import NotAcceptable, acceptable
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.conversion.convert import JSON, NPY, NPZ, TFEXAMPLE, convert_request, error_text
from tfsd.worker.conversion.media_type import parse
from tfsd.worker.prediction_service import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    SERVING_DEFAULT,
    PredictionService,
    Signature,
)
from tfsd.worker.replies import Reply, from_error
from tfsd.worker.upstream.backend import Piece

SENT_ON_BYTES = 2 << 20  # from here on sending a body on costs less than keeping it
MAX_DIMENSIONS = 32  # which every numpy has
Body = bytes | BinaryIO
"""A body, or the stream that has it."""
_Outputs = Mapping[str, Array]
_SCORES = "results"  # of the REST API's classify and regress


class _Named(msgspec.Struct):
    """What of a JSON request says which signature is meant."""

    signature_name: str = SERVING_DEFAULT


class BinaryConverter:
    """Answers calls whose body or whose response is of arrays."""

    def __init__(self, service: PredictionService, inflater: Inflater, max_bytes: int) -> None:
        """`max_bytes` is what the arrays of an .npz, or strings as a NumPy file, may take."""
        self._service = service
        self._inflater = inflater
        self._max_bytes = max_bytes

    def document(self, call: Call, body: Body, content_type: str) -> bytes:
        """The response to a body of arrays in the REST API's JSON. Raises HttpError, BodyGone."""
        found = self._found(call, body, parse(content_type).name)
        if isinstance(found, bytes):
            return found
        try:
            return documents.to_document(found)
        except NoArray as error:
            raise NotAcceptable(
                f"The response cannot be converted to JSON: {error}; ask for {NPZ}."
            ) from None

    def reply(self, call: Call, body: Body, content_type: str | None, produced: str) -> Reply:
        """The reply of type `produced`, NPY or NPZ, to any body. Raises HttpError, BodyGone."""
        name, request = parse(content_type or JSON).name, b""
        if name in self._readers:
            found = self._found(call, body, name)
        else:
            request = _read(body)
            answer = call.post(convert_request(request, content_type))
            if answer.status != 200:
                return from_error(answer.status, error_text(answer.body, content_type))
            found = answer.body
        if isinstance(found, bytes):
            found = self._of_document(call, found, request)
        return self._file(found, produced, call.environ.get("HTTP_ACCEPT"))

    def _of_document(self, call: Call, answer: bytes, request: bytes) -> _Outputs:
        """The outputs of a REST response, with the dtypes of the signature that the request names."""
        dtypes: Mapping[str, int] = {}
        if call.target.method == PREDICT:
            name = _signature_name(request)
            signature = self._service.signature(call.target, call.deadline, name)
            dtypes = {name: output.dtype for name, output in signature.outputs.items()}
        elif call.target.method == REGRESS:
            dtypes = {_SCORES: DT_FLOAT}
        try:
            return documents.from_document(answer, dtypes)
        except NoArray as error:
            raise NotAcceptable(
                f"The response cannot be converted to arrays: {error}; ask for {JSON}."
            ) from None

    def _file(self, outputs: _Outputs, produced: str, accept: str | None) -> Reply:
        if produced == NPY and len(outputs) != 1:
            if acceptable(accept, (NPZ,), NPZ) is None:
                names = ", ".join(repr(name) for name in outputs)
                raise NotAcceptable(
                    f"The model has several outputs, {names}; ask for {NPZ}, which has them all."
                )
            produced = NPZ
        try:
            if produced == NPZ:
                content = npy.write_npz(outputs, self._max_bytes)
            else:
                content = b"".join(npy.write_npy(next(iter(outputs.values())), self._max_bytes))
        except npy.NoFile as error:
            raise NotAcceptable(f"The response cannot be converted: {error}; ask for {JSON}.") from None
        return Reply(200, [("Content-Type", produced)], content)

    # -- requests

    def _found(self, call: Call, body: Body, name: str) -> _Outputs | bytes:
        """What is answered to a body of the content type of that name."""
        if name == NPY and isinstance(body, Arriving) and body.content_length >= SENT_ON_BYTES:
            pieces = self._sent_on(call, body)
            if pieces is not None:
                return self._outputs(call, pieces)
        return self._readers[name](self, call, _read(body))

    def _sent_on(self, call: Call, body: Arriving) -> list[bytes | Remainder] | None:
        """The request to the model server in which the elements are sent on as they come; None where somebody has to
        look at them first, or at what is wrong with the body."""
        try:
            shape, fortran, dtype, start = npy.read_head(body.begun)
        except BadRequest:
            return None
        whole = start + math.prod(shape) * dtype.itemsize == body.content_length
        if not whole or fortran or dtype.kind == "b" or len(shape) > MAX_DIMENSIONS:
            return None
        signature = self._predicting(call, NPY)
        name = _input(signature, call)
        number = signature.inputs[name].dtype
        if len(signature.inputs) > 1 or not values.is_content(dtype, number):
            return None
        return predict_request_of(
            self._service.spec(call.target), name, shape, number, Remainder(body, start)
        )

    def _npy(self, call: Call, body: bytes) -> _Outputs:
        array = npy.read_npy(body)
        signature = self._predicting(call, NPY)
        return self._predict(call, signature, {_input(signature, call): array})

    def _npz(self, call: Call, body: bytes) -> _Outputs:
        signature = self._predicting(call, NPZ)
        with self._inflater.room() as room:
            arrays = npy.read_npz(body, room)
        with self._inflater.holding(sum(array.nbytes for array in arrays.values())):
            return self._predict(call, signature, arrays)

    def _examples(self, call: Call, body: bytes) -> _Outputs | bytes:
        examples = records.examples(body)
        method = call.target.method
        if method == PREDICT:
            signature = self._signature(call)
            name = _input(signature, call)
            if signature.inputs[name].dtype != DT_STRING:
                raise BadRequest(
                    f"Input {name!r} takes {values.readable(signature.inputs[name].dtype)}, not serialised tf.Examples;"
                    f" send {NPY}, or name a method that takes Examples (tfs-method=classify or regress)."
                )
            serialised = np.empty(len(examples), np.object_)
            serialised[:] = records.split(body)
            return self._predict(call, signature, {name: serialised})
        kind = (
            classification_pb2.ClassificationRequest
            if method == CLASSIFY
            else regression_pb2.RegressionRequest
        )
        request = kind(model_spec=self._service.spec(call.target))
        request.input.example_list.examples.extend(examples)
        return _results(self._service.predict(request, call.target, call.deadline))

    def _predicting(self, call: Call, content_type: str) -> Signature:
        if call.target.method != PREDICT:
            raise BadRequest(
                f"{content_type} is for tfs-method=predict; send tf.Examples or JSON to {call.target.method}."
            )
        return self._signature(call)

    def _signature(self, call: Call) -> Signature:
        name = call.target.signature_name or SERVING_DEFAULT
        return self._service.signature(call.target, call.deadline, name)

    def _predict(self, call: Call, signature: Signature, arrays: Mapping[str, Array]) -> _Outputs:
        inputs: dict[str, tuple[Array, int]] = {}
        for name, array in arrays.items():
            known = signature.inputs.get(name)
            if known is None:
                raise BadRequest(f"The model has no input {name!r}; its inputs are {_listed(signature)}.")
            inputs[name] = values.cast(array, known.dtype, name), known.dtype
        missing = [repr(name) for name in sorted(signature.inputs) if name not in inputs]
        if missing:
            raise BadRequest(
                f"The request has no array for {', '.join(missing)}; send {NPZ} with {_listed(signature)}."
            )
        return self._outputs(call, predict_request(self._service.spec(call.target), inputs))

    def _outputs(self, call: Call, pieces: Sequence[Piece]) -> _Outputs:
        """What the model server answers to the pieces of a request."""
        message = self._service.predict_pieces(pieces, call.target, call.deadline)
        try:
            outputs, used = predict_response(message)
        except NoArray as error:
            raise NotAcceptable(f"The response cannot be converted: {error}.") from None
        self._service.check_version(used, call.target)
        return outputs

    _readers: Mapping[str, Callable[[BinaryConverter, Call, bytes], _Outputs | bytes]] = {
        NPY: _npy,
        NPZ: _npz,
        TFEXAMPLE: _examples,
    }


def _read(body: Body) -> bytes:
    return body if isinstance(body, bytes) else body.read()


def _input(signature: Signature, call: Call) -> str:
    """The input that a body of one array is for. Raises BadRequest."""
    name = call.target.input_name
    if name is not None:
        if name not in signature.inputs:
            raise BadRequest(
                f"The model has no input {name!r} (tfs-input-name); its inputs are {_listed(signature)}."
            )
        return name
    if len(signature.inputs) != 1:
        raise BadRequest(
            f"The model has several inputs, {_listed(signature)}; send {NPZ} with an array for each of them."
        )
    return next(iter(signature.inputs))


def _listed(signature: Signature) -> str:
    return ", ".join(repr(name) for name in sorted(signature.inputs))


def _signature_name(request: bytes) -> str:
    """The signature that a JSON request asks for."""
    if b"signature_name" not in request:
        return SERVING_DEFAULT
    try:
        return msgspec.json.decode(request, type=_Named).signature_name
    except msgspec.DecodeError:
        return SERVING_DEFAULT


def _results(response: Any) -> bytes:
    """The REST API's JSON for the response of a classification or a regression."""
    if isinstance(response, regression_pb2.RegressionResponse):
        scores = [np.float32(regression.value) for regression in response.result.regressions]
        return orjson.dumps({_SCORES: scores}, option=orjson.OPT_SERIALIZE_NUMPY)
    results = [
        [[item.label, np.float32(item.score)] for item in classifications.classes]
        for classifications in response.result.classifications
    ]
    return orjson.dumps({_SCORES: results}, option=orjson.OPT_SERIALIZE_NUMPY)
