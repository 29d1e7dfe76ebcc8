"""PredictionService and ModelService over the core: messages in, messages out, errors raised.

A thin layer without a transport: `methods` gives what a gRPC server serves, bytes in and bytes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from tfsd.model_server.core import ServerCore
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.rpc.method import IsActive, Method
from tfsd.model_server.rpc.wire import classification_result, predict_response, regression_result
from tfsd.model_server.runtime import inference
from tfsd.model_server.runtime.tensors import encode
from tfsd.model_server.servable import Servable
from tfsd.model_server.spec import ModelSpec
from tfsd.model_server.varint import field

_METADATA_FIELD = "signature_def"


def methods(core: ServerCore, metrics: Metrics, as_content: bool) -> dict[str, Method]:
    """What a gRPC server serves: path -> method.

    Args:
        as_content: --enable_serialization_as_tensor_content.
    """
    prediction = PredictionService(core, metrics, as_content)
    model = ModelService(core)
    verbs: dict[str, tuple[Any, Callable[[Any, IsActive], Any]]] = {
        "PredictionService/Predict": (predict_pb2.PredictRequest, prediction.predict),
        "PredictionService/Classify": (classification_pb2.ClassificationRequest, prediction.classify),
        "PredictionService/Regress": (regression_pb2.RegressionRequest, prediction.regress),
        "PredictionService/MultiInference": (
            inference_pb2.MultiInferenceRequest,
            prediction.multi_inference,
        ),
        "PredictionService/GetModelMetadata": (
            get_model_metadata_pb2.GetModelMetadataRequest,
            prediction.metadata,
        ),
        "ModelService/GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, model.status),
        "ModelService/HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest, model.reload),
    }
    return {f"/tensorflow.serving.{path}": _method(*verb) for path, verb in verbs.items()}


def _method(message: Any, verb: Callable[[Any, IsActive], Any]) -> Method:
    parse = message.FromString
    name = message.DESCRIPTOR.full_name

    def method(data: bytes, is_active: IsActive) -> bytes:
        try:
            request = parse(data)
        except DecodeError:
            raise ServingError(Code.INTERNAL, f"The request is not a {name} message.") from None
        response = verb(request, is_active)
        return response if isinstance(response, bytes) else response.SerializeToString()

    return method


def spec_of(message: Any) -> ModelSpec:
    """The `ModelSpec` of a request's `model_spec` message."""
    choice = message.WhichOneof("version_choice")
    return ModelSpec(
        message.name,
        message.version.value if choice == "version" else None,
        message.version_label if choice == "version_label" else None,
        message.signature_name,
    )


class PredictionService:
    """The inference verbs.

    Args:
        as_content: --enable_serialization_as_tensor_content.
    """

    def __init__(self, core: ServerCore, metrics: Metrics, as_content: bool) -> None:
        self._core = core
        self._metrics = metrics
        self._as_content = as_content

    def predict(self, request: Any, is_active: IsActive) -> Any:
        def run(servable: Servable, name: str) -> bytes:
            outputs = inference.predict(servable, request)
            dtypes = servable.output_dtypes(name or inference.DEFAULT_SIGNATURE)
            as_content = self._as_content
            tensors = {alias: encode(array, as_content, dtypes[alias]) for alias, array in outputs.items()}
            return predict_response(tensors, _spec_bytes(servable, name))

        return self._serve("Predict", _needed(request), run)

    def classify(self, request: Any, is_active: IsActive) -> Any:
        def run(servable: Servable, name: str) -> bytes:
            serialized = inference.examples(request.input)
            rows = inference.classify(servable, name, serialized)
            return field(1, classification_result(rows)) + field(2, _spec_bytes(servable, name))

        return self._serve("Classify", _needed(request), run)

    def regress(self, request: Any, is_active: IsActive) -> Any:
        def run(servable: Servable, name: str) -> bytes:
            serialized = inference.examples(request.input)
            values = inference.regress(servable, name, serialized)
            return field(1, regression_result(values)) + field(2, _spec_bytes(servable, name))

        return self._serve("Regress", _needed(request), run)

    def multi_inference(self, request: Any, is_active: IsActive) -> Any:
        def run(servable: Servable, _: str) -> bytes:
            entries = []
            results = inference.multi_inference(servable, request)
            for task, (name, result) in zip(request.tasks, results, strict=True):
                if task.method_name == inference.CLASSIFY:
                    answer = field(2, classification_result(cast("list[inference.Classification]", result)))
                else:
                    answer = field(3, regression_result(cast("list[float]", result)))
                entries.append(field(1, field(1, _spec_bytes(servable, name)) + answer))
            return b"".join(entries)

        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        return self._serve("MultiInference", spec, run)

    def metadata(self, request: Any, is_active: IsActive) -> Any:
        return metadata(self._core, request)

    def _serve(self, api: str, spec: Any, run: Callable[[Servable, str], bytes]) -> bytes:
        """Run one request on its servable, with the name of the signature that it asks for, and count it."""
        started = time.perf_counter()
        code, asked = Code.INTERNAL, spec_of(spec)
        try:
            with self._core.lease(asked) as lease:
                response = run(lease.servable, asked.signature_name)
            code = Code.OK
            return response
        except ServingError as error:
            code = error.code
            raise
        finally:
            self._metrics.record(asked.name, api, "GRPC", code, time.perf_counter() - started)


def metadata(core: ServerCore, request: Any) -> Any:
    """Answer a `GetModelMetadataRequest`.

    Raises ServingError: no model spec, no field or an unknown one, no such servable.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != _METADATA_FIELD:
            raise invalid(f"Metadata field {name} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with core.lease(spec_of(request.model_spec)) as lease:
        servable = lease.servable
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_METADATA_FIELD].Pack(signatures)
    return response


def _needed(request: Any) -> Any:
    """The model spec of a request that must carry one."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _spec_bytes(servable: Servable, signature_name: str) -> bytes:
    return _serialized_spec(servable.name, servable.version, signature_name or inference.DEFAULT_SIGNATURE)


@lru_cache
def _serialized_spec(name: str, version: int, signature_name: str) -> bytes:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature_name)
    spec.version.value = version
    return spec.SerializeToString()


class ModelService:
    """Status and reconfiguration."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def status(self, request: Any, is_active: IsActive) -> Any:
        return self._core.model_status(spec_of(_needed(request)))

    def reload(self, request: Any, is_active: IsActive) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                "currently supported"
            )
        self._core.reload_config(request.config, cancelled=lambda: not is_active())
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response
