"""The mode of models without user code: a request of any content type becomes the model server's JSON, and its answer
what the client accepts."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tfsd.errors import BadRequest
from tfsd.settings import Settings
from tfsd.worker.call import Call
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.conversion.convert import (
    ARRAYS,
    LINES,
    convert_request,
    convert_response,
    error_text,
    is_binary,
    reader_of,
    response_type,
)
from tfsd.worker.replies import Reply, from_error


class Converter:
    """No user code: the hosting contract, section 9."""

    def __init__(self, settings: Settings, inflater: Inflater) -> None:
        self._default_accept = settings.default_accept
        self._strict = settings.strict_accept
        # Batch transform puts a line end after each response itself (AssembleWith=Line).
        self._in_batch = settings.batch and settings.batch_strategy is not None
        self._inflater = inflater
        self._grpc_timeout, self._max_bytes = settings.grpc_timeout, settings.max_inflated_mb << 20

    def __call__(self, call: Call) -> Reply:
        environ = call.environ
        content_type, accept = environ.get("CONTENT_TYPE"), environ.get("HTTP_ACCEPT")
        binary = is_binary(content_type)
        if not binary:
            reader_of(content_type)
            if call.target.input_name or call.target.signature_name:
                raise BadRequest(
                    "tfs-input-name and tfs-signature-name are for NumPy files and tf.Examples; a JSON document names "
                    "its inputs and its signature_name itself."
                )
        # refused before anything is computed
        produced = response_type(accept, self._default_accept, self._strict)
        encoding = environ.get("HTTP_CONTENT_ENCODING")
        # arrays may be sent on as they come
        body = call.data if binary and not encoding else call.data.read()
        with self._inflater.decoded(body, encoding) as data:
            if produced in ARRAYS:
                return self._arrays.reply(call, data, content_type, produced)
            if binary:
                document = self._arrays.document(call, data, content_type)
            else:
                answer = call.post(convert_request(data, content_type))
                if answer.status != 200:
                    return from_error(answer.status, error_text(answer.body, content_type))
                document = answer.body
        converted, produced = convert_response(document, accept, self._default_accept, self._strict)
        if self._in_batch and produced in LINES:
            converted = converted.removesuffix(b"\n")
        return Reply(200, [("Content-Type", produced)], converted)

    @cached_property
    def _arrays(self) -> Any:
        from tfsd.worker.binary import BinaryConverter  # with gRPC and numpy, when they are first needed
        from tfsd.worker.prediction_service import PredictionService

        return BinaryConverter(PredictionService(self._grpc_timeout), self._inflater, self._max_bytes)
