"""Which model, version and method a request is for, and under which URI its model server has them.

Owns the check against the plan. Whatever a header says, a URI is built from a planned model's name
(percent-encoded), a planned version's number and a known method, so no request reaches another path.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from urllib.parse import quote

from tfsd import attributes
from tfsd.errors import BadRequest, NotFound
from tfsd.plan import Model, Plan
from tfsd.worker.upstream.client import Group, ModelServers, Unloadable

GENERIC = "generic_model"  # what the AWS images of the Python endpoint called their only model
MAX_DIGITS = 19  # of a version, TensorFlow Serving's int64
CACHED_HEADERS = 512  # distinct values of the attributes header whose target is remembered


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One model, version and method, ready to be used.

    Attributes:
        name, version, method: as in the Context.
        encoded_name: the name, percent-encoded, for headers and paths.
        versions: those of the model in the plan, ascending.
        asked_version: the version that the request names, None if it names none.
        rest_uri, grpc_port: as in the Context.
        model_path: where the model server has the model, or the version that the request names; without the method.
        post_head: the head of a POST of JSON to the model server, up to the value of Content-Length.
        group: the model's servers.
        input_name: the input that a body of one array is for, None if the request names none.
        signature_name: the signature that a body of arrays or of tf.Examples is for, None for the default one.
    """

    name: str
    version: str
    versions: tuple[int, ...]
    asked_version: int | None
    method: str
    encoded_name: str
    rest_uri: str
    grpc_port: str
    model_path: str
    post_head: bytes
    group: Group
    input_name: str | None = None
    signature_name: str | None = None


class Targets:
    """The targets of one pool: the models whose pool it is."""

    def __init__(self, plan: Plan, pool: str, servers: ModelServers) -> None:
        self._models = {name: model for name, model in plan.models.items() if model.pool == pool}
        self._only = next(iter(plan.models)) if len(plan.models) == 1 else None
        self._elsewhere = plan.models.keys() - self._models.keys()
        self._names = ", ".join(repr(name) for name in sorted(plan.models)) or "none"
        self._default = plan.default_model
        self.generation = plan.generation
        self._servers = servers
        self.find = lru_cache(CACHED_HEADERS)(self._find)
        """`find(attributes_header, model_name=None) -> Target`, see `_find`."""
        self.named = lru_cache(CACHED_HEADERS)(self._named)
        """`named(name, version=None, label=None, method=None) -> Target`, see `_named`."""

    @property
    def names(self) -> list[str]:
        """The models of all pools, by name."""
        return sorted(self._models.keys() | self._elsewhere)

    def _find(self, header: str | None, model_name: str | None = None) -> Target:
        """The target of a request with that X-Amzn-SageMaker-Custom-Attributes header.

        Args:
            header: the header's value, None if there is none.
            model_name: the model that the path names, if it does; the header's is then ignored.
        Raises BadRequest (header; a model with workers of its own) or NotFound (model or version, saying what exists).
        """
        asked = attributes.parse(_text(header))
        model = self._model(model_name or asked.model_name)
        if model.unloadable:
            raise Unloadable(model)
        _check_version(model, asked.model_version)
        return self._target(model, asked)

    def _named(
        self, name: str, version: int | None = None, label: str | None = None, method: str | None = None
    ) -> Target:
        """The target of a request whose path names a model and perhaps a version or its label.

        Without a `method` it only asks about the model, which may be one that cannot be loaded. Whether there is such
        a label is the model server's to say. Raises NotFound (model or version, saying what exists), BadRequest (a
        model with workers of its own), Unloadable.
        """
        model = self._models.get(name)
        if model is None and name in self._elsewhere:
            raise BadRequest(  # nginx, which chooses the workers, compares names as they are written
                f"Model {name!r} has workers of its own, which this request did not reach. Write its name in the path "
                f"as {quote(name, safe='')}."
            )
        if model is None:
            raise NotFound(f"There is no model {name!r}; models here: {self._names}.")
        if model.unloadable and method is not None:
            raise Unloadable(model)
        _check_version(model, version)
        return self._target(model, attributes.Attributes(name, version, method or "predict"), label)

    def _model(self, name: str | None) -> Model:
        wanted = self._default if name is None else name
        if wanted == GENERIC and self._only is not None:
            wanted = self._only
        model = self._models.get(wanted) if wanted is not None else None
        if wanted in self._elsewhere:
            raise BadRequest(  # nginx, which chooses the workers, could not read what was meant
                f"Model {wanted!r} has workers of its own, which this request did not reach. Send one "
                f"X-Amzn-SageMaker-Custom-Attributes header with all that it has to say, tfs-model-name={wanted} "
                "included, in UTF-8."
            )
        if model is None:
            what = "There is no default model" if wanted is None else f"There is no model {wanted!r}"
            raise NotFound(
                f"{what}; models here: {self._names}. Name one in X-Amzn-SageMaker-Custom-Attributes: "
                "tfs-model-name=NAME."
            )
        return model

    def _target(self, model: Model, asked: attributes.Attributes, label: str | None = None) -> Target:
        version, method = asked.model_version, asked.method
        encoded = quote(model.name, safe="")
        model_path = f"/v1/models/{encoded}"
        if version is not None:
            model_path += f"/versions/{version}"
        elif label is not None:
            model_path += f"/labels/{quote(label, safe='')}"
        path = f"{model_path}:{method}"
        server = model.servers[0]  # any will do for the handler: `requests_patch` chooses among them
        return Target(
            name=model.name,
            version=str(model.latest if version is None else version),
            versions=model.versions,
            asked_version=version,
            method=method,
            encoded_name=encoded,
            rest_uri=f"http://localhost:{server.rest_port}{path}",
            grpc_port=str(server.grpc_port),
            model_path=model_path,
            post_head=(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            ).encode("ascii"),
            group=self._servers.of_model(model.name),
            input_name=asked.input_name,
            signature_name=asked.signature_name,
        )


def version_number(digits: str | None) -> int | None:
    """The version that a path has, in digits. Raises NotFound for more of them than any version has."""
    if digits is not None and len(digits.lstrip("0")) > MAX_DIGITS:
        raise NotFound(f"There is no version {digits[:40]}…; a version has at most {MAX_DIGITS} digits.")
    return None if digits is None else int(digits.lstrip("0") or "0")


def _check_version(model: Model, version: int | None) -> None:
    if version is not None and version not in model.versions:
        versions = ", ".join(str(known) for known in model.versions)
        raise NotFound(f"Model {model.name!r} has no version {version}; versions here: {versions}.")


def _text(header: str | None) -> str | None:
    """A header's value as the client meant it: WSGI gives its bytes as Latin-1 (PEP 3333), clients send UTF-8."""
    try:
        return header.encode("latin-1").decode() if header else header
    except UnicodeError:
        return header
