"""The models of a multi-model endpoint on one instance: fetched from S3 when first asked for, the oldest given up.

Owns which target models are loaded there, under which opaque name. A model is loaded anew when its archive has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gevent

from tfsd.sagemaker.errors import ModelError, ModelNotReadyException, ServiceUnavailable, ValidationError
from tfsd.sagemaker.instances import model_data
from tfsd.sagemaker.instances.instance import Instance
from tfsd.sagemaker.instances.model_data import ModelDataError, TimeLimit
from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError

LOAD_SECONDS = 360  # hosting contract section 4
UNLOAD_SECONDS = 60
ALREADY_LOADED = 409
NO_ROOM = 507

log = logging.getLogger(__name__)


@dataclasses.dataclass
class LoadedModel:
    """A target model on the instance. `used` is when it was last asked for, by the monotonic clock."""

    target: str
    name: str
    etag: str
    loading: gevent.Greenlet | None = None
    loaded: bool = False
    used: float = 0.0
    in_flight: int = 0

    @property
    def path(self) -> str:
        """Where it is invoked."""
        return f"/models/{quote(self.name, safe='')}/invoke"


class ModelCache:
    """`container` is the definition whose ModelDataUrl is the prefix of all models."""

    def __init__(self, instance: Instance, container: dict[str, Any], objects: ObjectStore) -> None:
        self._instance, self._objects = instance, objects
        self._prefix = container["ModelDataUrl"].rstrip("/") + "/"
        self._cached = container.get("MultiModelConfig", {}).get("ModelCacheSetting") != "Disabled"
        self._models: dict[str, LoadedModel] = {}
        self._retired: list[LoadedModel] = []  # being unloaded, or still in use

    def __contains__(self, target: str) -> bool:
        return target in self._models and self._models[target].loaded

    def __len__(self) -> int:
        return len(self._models)

    def enter(self, target: str, seconds: float) -> LoadedModel:
        """A target model, loaded first if need be. `leave` must follow.

        Raises ValidationError for a model that is not in S3, ModelNotReadyException when `seconds` do not suffice,
        ModelError when the container refuses it, OSError when it cannot be asked.
        """
        model = self._find(target)
        model.used = time.monotonic()
        model.in_flight += 1
        try:
            self._load(model, seconds)
        except BaseException:
            self.leave(model)
            raise
        return model

    def leave(self, model: LoadedModel) -> None:
        model.in_flight -= 1
        if model.in_flight or self._models.get(model.target) is not model:
            return
        if not model.loaded and not model.loading:
            del self._models[model.target]
        elif model.loaded and not self._cached:
            self._retire(model)

    def _find(self, target: str) -> LoadedModel:
        """The model's entry, new when it is not there or when its archive is another by now."""
        etag = self._etag(target)
        model = self._models.get(target)
        if model is not None and etag not in (None, model.etag):
            self._retire(model)
            model = None
        if model is None:
            if etag is None:
                bucket, key = model_data.location(self._prefix + target)
                raise ValidationError(
                    f"Failed to download model data(bucket: {bucket}, key: {key}). Please ensure that there is an "
                    "object located at the URL and that the role passed to CreateModel has permissions to download "
                    "the model."
                )
            name = hashlib.sha256(f"{target}\0{etag}".encode()).hexdigest()[:32]
            model = self._models[target] = LoadedModel(target, name, etag)
        return model

    def _etag(self, target: str) -> str | None:
        try:
            found = self._objects.find(*model_data.location(self._prefix + target.lstrip("/")))
        except (ObjectStoreError, ModelDataError):
            return None
        return found.etag if found else None

    def _load(self, model: LoadedModel, seconds: float) -> None:
        """Have the model loaded, by this request or another one; it goes on when this one gives up."""
        if model.loaded:
            return
        loading = model.loading = model.loading or gevent.spawn(self._fetch_and_load, model)
        loading.join(seconds)
        if not loading.ready():
            raise ModelNotReadyException(f"The model {model.target} is being loaded; try again.")
        if not model.loaded:
            # who waited for it too gets the same failure; the next one tries anew
            if model.loading is loading:
                model.loading = None
            raise loading.value or ServiceUnavailable(f"The model {model.target} could not be loaded.")

    def _fetch_and_load(self, model: LoadedModel) -> Exception | None:
        directory = self._directory(model)
        # one that is being unloaded has this directory until it is gone
        while any(other.name == model.name for other in self._retired):
            gevent.sleep(0.05)
        try:
            uri = self._prefix + model.target.lstrip("/")
            model_data.fetch_archive(self._objects, uri, directory, TimeLimit(LOAD_SECONDS))
            self._post(model, directory)
        except (ModelDataError, ModelError, OSError) as error:
            shutil.rmtree(directory.parent, ignore_errors=True)
            of_container = isinstance(error, ModelError | ConnectionError | TimeoutError)
            return error if of_container else ValidationError(str(error))
        model.loaded, model.loading = True, None
        return None

    def _post(self, model: LoadedModel, directory: Path) -> None:
        """POST /models, unloading others while the container has no room. Raises ModelError, OSError."""
        container = self._instance.containers[0]
        body = json.dumps({"model_name": model.name, "url": container.path_inside(directory)}).encode()
        end = time.monotonic() + LOAD_SECONDS
        while True:
            response = container.post("/models", body, {"Content-Type": "application/json"}, LOAD_SECONDS)
            text = response.read().decode("utf-8", "replace")
            if response.status in (200, ALREADY_LOADED):
                return
            if response.status != NO_ROOM or time.monotonic() > end or not self._make_room(model):
                raise ModelError(
                    f'Received server error ({response.status}) from primary with message "{text}".',
                    OriginalStatusCode=response.status,
                    OriginalMessage=text,
                )

    def _make_room(self, wanted: LoadedModel) -> bool:
        """Unload the least recently used model that is not in use, waiting for one if all are. False: there is none."""
        others = [model for model in self._models.values() if model is not wanted and model.loaded]
        idle = [model for model in others if not model.in_flight]
        if any(model.loaded for model in self._retired if model is not wanted):
            gevent.sleep(0.1)
        elif idle:
            self._retire(min(idle, key=lambda model: model.used)).join()
        elif others:
            gevent.sleep(0.1)
        else:
            return False
        return True

    def _retire(self, model: LoadedModel) -> gevent.Greenlet:
        """Begin to unload a model. Whoever asks for it from now on has it loaded anew; who uses it is waited for."""
        del self._models[model.target]
        self._retired.append(model)
        return gevent.spawn(self._unload, model)

    def _unload(self, model: LoadedModel) -> None:
        while model.in_flight or (model.loading is not None and not model.loading.ready()):
            gevent.sleep(0.05)
        if model.loaded:
            client = self._instance.containers[0].client
            try:
                client.request("DELETE", f"/models/{quote(model.name, safe='')}", UNLOAD_SECONDS).read()
            except OSError as error:
                log.warning("%s could not be unloaded: %s", model.target, error)
        shutil.rmtree(self._directory(model).parent, ignore_errors=True)
        self._retired = [other for other in self._retired if other is not model]

    def _directory(self, model: LoadedModel) -> Path:
        return self._instance.base / "models" / model.name / "model"
