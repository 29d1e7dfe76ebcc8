"""The verbs of the REST API: from a request's body to an answer's body.

Owns how bodies, the codec and the core fit together. Never sees paths, headers or statuses.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from tfsd.model_server.codec.codec import (
    Inputs,
    decode_examples,
    decode_predict,
    encode_classifications,
    encode_predictions,
    encode_regressions,
)
from tfsd.model_server.core import Lease, ServerCore
from tfsd.model_server.errors import invalid
from tfsd.model_server.runtime import inference
from tfsd.model_server.spec import ModelSpec

Body = bytes | bytearray


class RestVerbs:
    """What a request can ask for; each method returns an answer's body.

    Args:
        timeout_ms: --rest_api_timeout_in_ms, the time that a model may take.
    Raises (every method) ServingError: what the client is told.
    """

    def __init__(self, core: ServerCore, timeout_ms: int) -> None:
        self._core = core
        self._timeout_ms = timeout_ms

    def predict(self, spec: ModelSpec, body: Body) -> bytes:
        """Run a signature on the tensors of a JSON body."""
        with self._core.lease(spec) as lease:
            signature_name, row_format, inputs = decode_predict(body, partial(_inputs, lease))
            name, servable = signature_name or inference.DEFAULT_SIGNATURE, lease.servable
            inference.check_predict(servable, servable.signature_defs[name])
            outputs = servable.run(name, inputs, timeout_ms=self._timeout_ms)
            dtypes = servable.output_dtypes(name)
        return encode_predictions(outputs, row_format, dtypes)

    def classify(self, spec: ModelSpec, body: Body) -> bytes:
        """Classify the examples of a JSON body."""
        signature_name, examples = decode_examples(body)
        with self._core.lease(spec) as lease:
            results = inference.classify(lease.servable, signature_name, examples, self._timeout_ms)
        return encode_classifications(results)

    def regress(self, spec: ModelSpec, body: Body) -> bytes:
        """Regress the examples of a JSON body."""
        signature_name, examples = decode_examples(body)
        with self._core.lease(spec) as lease:
            results = inference.regress(lease.servable, signature_name, examples, self._timeout_ms)
        return encode_regressions(results)

    def status(self, spec: ModelSpec) -> bytes:
        """The states of a model's versions."""
        return _proto_json(self._core.model_status(spec))

    def metadata(self, spec: ModelSpec) -> bytes:
        """The signatures of a servable, in the real server's framing of two messages."""
        with self._core.lease(spec) as lease:
            servable = lease.servable
            answered = model_pb2.ModelSpec(name=servable.name)
            answered.version.value = servable.version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signature_defs.items():
                signatures.signature_def[name].CopyFrom(signature)
        return b'{\n"model_spec":%b,\n"metadata": {"signature_def": %b}\n}\n' % (
            _proto_json(answered),
            _proto_json(signatures),
        )


def _inputs(lease: Lease, signature_name: str) -> Inputs:
    """The declared dtypes of a signature's inputs. Raises ServingError: no servable, or no such signature."""
    name = signature_name or inference.DEFAULT_SIGNATURE
    dtypes = lease.servable.input_dtypes(name)
    if dtypes is None:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    return dtypes


def _proto_json(message: Any) -> bytes:
    text = json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        ensure_ascii=False,
    )
    return text.encode() + b"\n"
