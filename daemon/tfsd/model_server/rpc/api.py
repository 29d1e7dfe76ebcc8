"""PredictionService and ModelService over the core. A thin layer: protos in, protos out, errors as statuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    regression_pb2,
)

from tfsd.model_server.core import ServerCore
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.rpc.wire import classification_result, field, regression_result
from tfsd.model_server.runtime import inference
from tfsd.model_server.runtime.tensors import encode
from tfsd.model_server.servable import Servable
from tfsd.model_server.spec import ModelSpec

_MESSAGE_LIMIT = 1024  # bytes of an error text; the rest is cut, as the real server does
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_METADATA_FIELD = "signature_def"


def abort(context: grpc.ServicerContext, error: ServingError) -> None:
    """End a call with the status of an error. Never returns."""
    text = error.message
    raw = text.encode("utf-8", "replace")
    if len(raw) > _MESSAGE_LIMIT:
        text = f"{raw[:_MESSAGE_LIMIT].decode('utf-8', 'ignore')}...TRUNCATED"
    context.abort(_STATUS[error.code.value], text)


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

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec = _needed(request, context)
        return self._serve("Predict", spec, context, lambda servable: self._predict(servable, request))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        def run(servable: Servable) -> bytes:
            name, serialized = request.model_spec.signature_name, inference.examples(request.input)
            rows = inference.classify(servable, name, serialized)
            return field(1, classification_result(rows)) + field(2, _spec_bytes(servable, name))

        return self._serve("Classify", _needed(request, context), context, run)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        def run(servable: Servable) -> bytes:
            name, serialized = request.model_spec.signature_name, inference.examples(request.input)
            values = inference.regress(servable, name, serialized)
            return field(1, regression_result(values)) + field(2, _spec_bytes(servable, name))

        return self._serve("Regress", _needed(request, context), context, run)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        def run(servable: Servable) -> bytes:
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
        return self._serve("MultiInference", spec, context, run)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return metadata(self._core, request)
        except ServingError as error:
            return abort(context, error)

    def _predict(self, servable: Servable, request: Any) -> Any:
        outputs = inference.predict(servable, request)
        response = predict_pb2.PredictResponse()
        name = request.model_spec.signature_name or inference.DEFAULT_SIGNATURE
        infos = servable.signature_defs[name].outputs
        for alias, array in outputs.items():
            encode(array, response.outputs[alias], self._as_content, infos[alias].dtype)
        _fill_spec(response.model_spec, servable, name)
        return response

    def _serve(
        self, api: str, spec: Any, context: grpc.ServicerContext, run: Callable[[Servable], Any]
    ) -> Any:
        """Run one request on its servable, count it, and turn an error into a status."""
        started = time.perf_counter()
        failure = None
        try:
            with self._core.servable(spec_of(spec)) as servable:
                response = run(servable)
        except ServingError as error:
            failure = error
        code = failure.code if failure else Code.OK
        self._metrics.record(spec.name, api, "GRPC", code, time.perf_counter() - started)
        if failure is not None:
            return abort(context, failure)
        return response


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
    with core.servable(spec_of(request.model_spec)) as servable:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_METADATA_FIELD].Pack(signatures)
    return response


def _needed(request: Any, context: grpc.ServicerContext) -> Any:
    """The model spec of a request that must carry one."""
    if not request.HasField("model_spec"):
        abort(context, invalid("Missing ModelSpec"))
    return request.model_spec


def _fill_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name or inference.DEFAULT_SIGNATURE


def _spec_bytes(servable: Servable, signature_name: str) -> bytes:
    spec = model_pb2.ModelSpec()
    _fill_spec(spec, servable, signature_name)
    return spec.SerializeToString()


def add_prediction_service(service: PredictionService, server: grpc.Server) -> None:
    """Serve PredictionService. Unlike the generated function, this lets a verb answer with serialized bytes."""
    requests = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    }
    handlers = {
        verb: grpc.unary_unary_rpc_method_handler(getattr(service, verb), request.FromString, _serialized)
        for verb, request in requests.items()
    }
    handler = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers)
    server.add_generic_rpc_handlers((handler,))


def _serialized(response: Any) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Status and reconfiguration."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            return self._core.model_status(spec_of(request.model_spec))
        except ServingError as error:
            return abort(context, error)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            self._core.reload_config(request.config, cancelled=lambda: not context.is_active())
        except ServingError as error:
            return abort(context, error)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response
