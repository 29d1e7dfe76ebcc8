"""Requests and responses of an AWS API, from botocore's service models: nothing here knows an operation by name.

Owns the two protocols that SageMaker speaks: `json` (the control plane: one path, the operation in X-Amz-Target) and
`rest-json` (the runtime: members in path, headers and body).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from tfsd.sagemaker.errors import (
    AwsError,
    PayloadTooLarge,
    SerializationException,
    UnknownOperationException,
    ValidationError,
    ValidationException,
)
from tfsd.sagemaker.validation import validate

JSON_TYPE = "application/x-amz-json-1.1"
EVENT_STREAM_TYPE = "application/vnd.amazon.eventstream"


@dataclasses.dataclass(frozen=True)
class HttpRequest:
    """What a client sent. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class HttpResponse:
    """What it is answered. A body that is not bytes is streamed, one chunk for each piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Iterable[bytes]


class Service:
    """The control plane: JSON in, JSON out."""

    refuse: type[AwsError] = ValidationException

    def __init__(self, name: str, loader: Loader) -> None:
        """`name` is botocore's: `sagemaker`."""
        self.model = ServiceModel(loader.load_service_model(name, "service-2"), name)

    def parse(self, request: HttpRequest) -> tuple[OperationModel, dict[str, Any]]:
        """The operation that is asked for and its validated input. Raises AwsError."""
        name = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if name not in self.model.operation_names:
            raise UnknownOperationException(f"SageMaker has no operation {name!r}.")
        operation = self.model.operation_model(name)
        try:
            document = json.loads(request.body or b"{}")
        except ValueError as error:
            raise SerializationException(f"The body is not JSON: {error}.") from error
        validate(operation.input_shape, document, self.refuse)
        return operation, _known(operation.input_shape, document)

    def respond(self, operation: OperationModel, result: dict[str, Any]) -> HttpResponse:
        document = {} if operation.output_shape is None else _known(operation.output_shape, result)
        return HttpResponse(200, {"Content-Type": JSON_TYPE}, json.dumps(document).encode())

    def respond_error(self, error: AwsError) -> HttpResponse:
        document = {"__type": error.code, "message": error.message, **error.members}
        headers = {"Content-Type": JSON_TYPE, "x-amzn-ErrorType": error.code}
        return HttpResponse(error.status, headers, json.dumps(document).encode())


class Member(NamedTuple):
    """A member of a REST request: `location` is `uri`, `header` (named `header`, in lower case), `body` or none."""

    name: str
    location: str
    header: str
    whole_number: bool


class Route(NamedTuple):
    """What an operation of a REST service is found by."""

    method: str
    pattern: re.Pattern[str]
    operation: OperationModel
    members: list[Member]


class RestService(Service):
    """The runtime: the path names the operation; one member may be the body."""

    refuse = ValidationError

    def __init__(self, name: str, loader: Loader) -> None:
        super().__init__(name, loader)
        self._routes = [
            Route(
                operation.http["method"],
                _path_pattern(operation.http["requestUri"]),
                operation,
                _members(operation.input_shape),
            )
            for operation in map(self.model.operation_model, self.model.operation_names)
        ]

    def parse(self, request: HttpRequest) -> tuple[OperationModel, dict[str, Any]]:
        for route in self._routes:
            found = route.pattern.fullmatch(request.path)
            if found and request.method == route.method:
                operation = route.operation
                parameters = _located(route.members, found.groupdict(), request)
                _check_size(operation.input_shape, request.body)
                validate(operation.input_shape, parameters, self.refuse)
                return operation, parameters
        raise UnknownOperationException(f"SageMaker's runtime has no {request.method} {request.path}.")

    def respond(self, operation: OperationModel, result: dict[str, Any]) -> HttpResponse:
        """`result` has the payload as bytes, or as an iterable of pieces (for an event stream: of encoded events)."""
        shape = operation.output_shape
        headers, document = {}, {}
        payload = shape.serialization.get("payload")
        for name, member in shape.members.items():
            value = result.get(name)
            if value is None or name == payload:
                continue
            if member.serialization.get("location") == "header":
                headers[member.serialization["name"]] = str(value)
            else:
                document[name] = value
        status = operation.http.get("responseCode", 200)
        if payload is None:
            return HttpResponse(
                status, {"Content-Type": "application/json", **headers}, json.dumps(document).encode()
            )
        if operation.has_event_stream_output:
            headers["Content-Type"] = EVENT_STREAM_TYPE
        return HttpResponse(status, headers, result[payload])

    def respond_error(self, error: AwsError) -> HttpResponse:
        document = {"Message": error.message, "message": error.message, **error.members}
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}
        return HttpResponse(error.status, headers, json.dumps(document).encode())


def _check_size(shape: Any, body: bytes) -> None:
    """Raises PayloadTooLarge for a body that is longer than the payload's shape says."""
    payload = shape.members.get(shape.serialization.get("payload"))
    limit = payload.metadata.get("max") if payload else None
    if limit is not None and len(body) > limit:
        raise PayloadTooLarge(f"HTTP content length exceeded {limit} bytes.")


def _members(shape: Any) -> list[Member]:
    """Where each member of a REST request lies, as its shape says."""
    payload = shape.serialization.get("payload")
    return [
        Member(
            name,
            "body" if name == payload else member.serialization.get("location", ""),
            member.serialization.get("name", "").lower(),
            member.type_name == "integer",
        )
        for name, member in shape.members.items()
    ]


def _located(members: list[Member], path: Mapping[str, str], request: HttpRequest) -> dict[str, Any]:
    """The members that a REST request has."""
    parameters: dict[str, Any] = {}
    for member in members:
        value: Any = None
        if member.location == "header":
            value = request.headers.get(member.header)
            if value is not None and member.whole_number:
                value = _integer(member.name, value)
        elif member.location == "body":
            value = request.body
        elif member.location == "uri":
            value = unquote(path[member.name])
        if value is not None:
            parameters[member.name] = value
    return parameters


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise SerializationException(f"{name} must be a whole number, not {text!r}.") from error


def _path_pattern(uri: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", uri)
    for index in range(1, len(parts), 2):
        parts[index] = f"(?P<{parts[index]}>[^/]+)"
    return re.compile("".join(parts))


def _known(shape: Any, value: Any) -> Any:
    """The members that the shape has, recursively, without those that are None or empty structures."""
    if value is None:
        return None
    if shape.type_name == "structure":
        members = {
            name: _known(member, value[name]) for name, member in shape.members.items() if name in value
        }
        return {
            name: member
            for name, member in members.items()
            if member is not None and not (member == {} and shape.members[name].type_name == "structure")
        }
    if shape.type_name == "list":
        return [_known(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: _known(shape.value, item) for key, item in value.items()}
    return value
