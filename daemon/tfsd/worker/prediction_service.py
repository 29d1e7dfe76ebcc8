"""Calls of TensorFlow Serving's PredictionService, and what is known of a model's signature.

Owns the choice of the verb, the time limit of a call and the cache of signatures. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfsd.errors import BadRequest, HttpError
from tfsd.tensors.dtypes import Shape
from tfsd.worker.targets import GENERIC, Target
from tfsd.worker.upstream.backend import Piece
from tfsd.worker.upstream.client import Group
from tfsd.worker.upstream.grpc_errors import as_http_error
from tfsd.worker.upstream.sockets import connected, grpc_address

SERVING_DEFAULT = "serving_default"
METHODS = "tensorflow/serving/"  # with predict, classify or regress: a signature's method_name
PREDICT_METHOD = "/tensorflow.serving.PredictionService/Predict"
PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"
VERBS: dict[type, str] = {
    predict_pb2.PredictRequest: "Predict",
    classification_pb2.ClassificationRequest: "Classify",
    regression_pb2.RegressionRequest: "Regress",
    inference_pb2.MultiInferenceRequest: "MultiInference",
}
ANOTHER_SIGNATURE = (
    "Let input_fn return a PredictRequest that names one, or, without code, name it by tfs-signature-name in "
    "X-Amzn-SageMaker-Custom-Attributes."
)
PROBE_SECONDS = 1.0
PROBE_PAUSE_SECONDS = 0.1
LAST_SECONDS = 0.5  # of a request's time: there is just enough left to say why it fails


@dataclasses.dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a signature (meta_graph.proto); `dtype` is a DataType's number."""

    dtype: int
    shape: Shape


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a model version. `method` is 'predict', 'classify', 'regress', or what it says else."""

    version: int
    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class _Signatures:
    """All signatures of a model version."""

    version: int
    by_name: Mapping[str, Signature]


class _Servers:
    """What is kept of one model's servers: calls that are ready, and signatures by the version that is asked for."""

    def __init__(self, group: Group) -> None:
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(group.channel)
        self.predict_pieces = group.channel.unary_unary(PREDICT_METHOD)
        self.signatures: dict[int | None, _Signatures] = {}

    def check_version(self, spec: Any) -> None:
        """See `PredictionService.check_version`."""
        latest = self.signatures.get(None)
        if latest is not None and spec is not None and spec.version.value != latest.version:
            del self.signatures[None]


class PredictionService:
    """The model servers of this worker, by gRPC. `timeout` is that of one call, in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._servers: WeakKeyDictionary[Group, _Servers] = WeakKeyDictionary()
        self._last: tuple[Group, _Servers] | None = None  # that were asked for: most often the only ones

    def signature(
        self, target: Target, deadline: float, name: str = SERVING_DEFAULT, hint: str = ANOTHER_SIGNATURE
    ) -> Signature:
        """A signature of the version that `target` means; they are asked for once per version.

        `hint` says how another one is chosen. Raises HttpError.
        """
        servers = self._of(target.group)
        known = servers.signatures
        found = known.get(target.asked_version)
        if found is None:
            request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            _name_model(request.model_spec, target)
            found = _signatures(self._attempts(servers.stub.GetModelMetadata, request, target, deadline))
            known[target.asked_version] = found
        if name not in found.by_name:
            names = ", ".join(sorted(found.by_name)) or "none"
            raise BadRequest(f"The model has no signature {name!r}; it has {names}. {hint}")
        return found.by_name[name]

    def predict(self, request: Any, target: Target, deadline: float) -> Any:
        """Send a request of any of VERBS; a model spec that names no model is filled in. Returns the response.

        `deadline` is the HTTP request's, on the clock of time.monotonic(). Raises HttpError.
        """
        several = isinstance(request, inference_pb2.MultiInferenceRequest)
        for spec in [task.model_spec for task in request.tasks] if several else [request.model_spec]:
            if spec.name in ("", GENERIC):
                _name_model(spec, target)
        servers = self._of(target.group)
        try:
            response = self._attempts(getattr(servers.stub, VERBS[type(request)]), request, target, deadline)
        except HttpError as error:
            if error.status in (400, 404):
                servers.signatures = {}  # it may be of a version that is no more
            raise
        if not several:
            servers.check_version(response.model_spec)
        return response

    def predict_pieces(self, message: Sequence[Piece], target: Target, deadline: float) -> bytes:
        """Send the pieces of a serialized PredictRequest (see `spec`). Returns the serialized response. Raises
        HttpError; BodyGone where one of them can be sent only once, and once did not do."""
        servers = self._of(target.group)
        try:
            return self._attempts(servers.predict_pieces, message, target, deadline)
        except HttpError as error:
            if error.status in (400, 404):
                servers.signatures = {}
            raise

    @staticmethod
    def spec(target: Target) -> Any:
        """The ModelSpec of the version and the signature that `target` means."""
        spec = model_pb2.ModelSpec(signature_name=target.signature_name or "")
        _name_model(spec, target)
        return spec

    def check_version(self, spec: Any, target: Target) -> None:
        """Forget the latest version's signatures when an answer, with this ModelSpec, comes from another one."""
        self._of(target.group).check_version(spec)

    def _of(self, group: Group) -> _Servers:
        last = self._last
        if last is not None and last[0] is group:
            return last[1]
        found = self._servers.get(group)
        if found is None:
            found = self._servers[group] = _Servers(group)
        self._last = group, found
        return found

    def _attempts(self, call: Callable[..., Any], request: Any, target: Target, deadline: float) -> Any:
        group = target.group
        while True:
            timeout = max(0.0, min(self._timeout, deadline - time.monotonic()))
            try:
                return call(request, timeout=timeout)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise as_http_error(error) or HttpError(500, str(error)) from None
            if _listens(group):
                raise HttpError(
                    504,
                    f"The model server did not answer within {self._timeout:g} s; "
                    "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT sets the limit.",
                )
            _wait_until_back(
                group, deadline
            )  # the call has not been sent: a restart does not count against it


def _wait_until_back(group: Group, deadline: float) -> None:
    """Raise HttpError when none of the model servers listens in time for an answer."""
    while not _listens(group):
        if time.monotonic() + LAST_SECONDS >= deadline:
            text = f"No model server of {group.name!r} answered. It is being restarted; try again."
            raise HttpError(503, text, {"Retry-After": "1"})
        time.sleep(PROBE_PAUSE_SECONDS)


def _name_model(spec: Any, target: Target) -> None:
    spec.name = target.name
    if target.asked_version is not None and not spec.WhichOneof("version_choice"):
        spec.version.value = target.asked_version


def _signatures(metadata: Any) -> _Signatures:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    metadata.metadata["signature_def"].Unpack(definitions)
    version = metadata.model_spec.version.value
    found = {
        name: Signature(
            version,
            definition.method_name.removeprefix(METHODS),
            _tensors(definition.inputs),
            _tensors(definition.outputs),
        )
        for name, definition in definitions.signature_def.items()
    }
    return _Signatures(version, found)


def _tensors(infos: Mapping[str, Any]) -> Mapping[str, TensorInfo]:
    return {name: TensorInfo(info.dtype, _shape(info.tensor_shape)) for name, info in infos.items()}


def _shape(proto: Any) -> Shape:
    return None if proto.unknown_rank else tuple(dim.size for dim in proto.dim)


def _listens(group: Group) -> bool:
    """Whether any of the model servers does, by gRPC."""
    for server in group.servers:
        with contextlib.suppress(OSError):
            connected(grpc_address(server), PROBE_SECONDS).close()
            return True
    return False
