"""PredictionService and ModelService over the core. A thin layer: protos in, protos out, errors as statuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfsd.model_server import inference
from tfsd.model_server.core import ServerCore
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.servable import Servable
from tfsd.model_server.spec import ModelSpec
from tfsd.model_server.tensors import encode

_MESSAGE_LIMIT = 1024  # characters of an error text; the rest is cut, as the real server does
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_METADATA_FIELD = "signature_def"


def abort(context: grpc.ServicerContext, error: ServingError) -> None:
    """End a call with the status of an error. Never returns."""
    text = error.message
    if len(text) > _MESSAGE_LIMIT:
        text = f"{text[:_MESSAGE_LIMIT]}...TRUNCATED"
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


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
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
        def run(servable: Servable) -> Any:
            name, serialized = request.model_spec.signature_name, inference.examples(request.input)
            response = classification_pb2.ClassificationResponse()
            _add_classes(response.result, inference.classify(servable, name, serialized))
            _fill_spec(response.model_spec, servable, name)
            return response

        return self._serve("Classify", _needed(request, context), context, run)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        def run(servable: Servable) -> Any:
            name, serialized = request.model_spec.signature_name, inference.examples(request.input)
            response = regression_pb2.RegressionResponse()
            _add_values(response.result, inference.regress(servable, name, serialized))
            _fill_spec(response.model_spec, servable, name)
            return response

        return self._serve("Regress", _needed(request, context), context, run)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        def run(servable: Servable) -> Any:
            response = inference_pb2.MultiInferenceResponse()
            results = inference.multi_inference(servable, request)
            for task, (name, result) in zip(request.tasks, results, strict=True):
                entry = response.results.add()
                _fill_spec(entry.model_spec, servable, name)
                if task.method_name == inference.CLASSIFY:
                    _add_classes(entry.classification_result, result)
                else:
                    _add_values(entry.regression_result, result)
            return response

        spec = request.tasks[0].model_spec if request.tasks else predict_pb2.PredictRequest().model_spec
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
    for field in request.metadata_field:
        if field != _METADATA_FIELD:
            raise invalid(f"Metadata field {field} is not supported")
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


def _add_classes(result: Any, rows: Any) -> None:
    result.SetInParent()
    for row in rows:
        classes = result.classifications.add().classes
        for label, score in row:
            # The field must be UTF-8; the real server sends other bytes, which no Python client can read.
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _add_values(result: Any, values: Any) -> None:
    result.SetInParent()
    for value in values:
        result.regressions.add(value=value)


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
