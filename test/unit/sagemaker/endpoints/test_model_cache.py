"""Target models against a container that takes its time. How many there are room for: test_runtime.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")

import gevent
from gevent.event import Event

from tfsd.sagemaker.endpoints.model_cache import ModelCache
from tfsd.sagemaker.errors import AwsError, ModelNotReadyException
from tfsd.sagemaker.instances import model_data

from ..conftest import Api, archive, wait_for


class SlowContainer:
    """Answers once `loaded` is set. It plays the instance, the container and its answer."""

    status = 200

    def __init__(self, base: Path) -> None:
        self.base = base
        self.containers = [self]
        self.client = self
        self.loaded = Event()
        self.unloaded = Event()
        self.asked = 0
        self.models: list[str] = []

    def path_inside(self, path: Path) -> str:
        return str(path)

    def post(self, path: str, body: bytes, *_: Any) -> SlowContainer:
        self.asked += 1
        self.loaded.wait()
        asked = json.loads(body)
        assert (Path(asked["url"]) / "file").exists()
        assert asked["model_name"] not in self.models
        self.models.append(asked["model_name"])
        return self

    def request(self, method: str, path: str, seconds: float) -> SlowContainer:
        """DELETE."""
        self.unloaded.wait()
        self.models.remove(path.rpartition("/")[2])
        return self

    def read(self) -> bytes:
        return b""


def test_a_model_that_loads_for_long_is_not_ready_yet(api: Api, tmp_path: Path) -> None:
    api.put("many", "a.tar.gz", archive("a"))
    container = SlowContainer(tmp_path / "ml")
    cache = ModelCache(container, {"ModelDataUrl": "s3://many/"}, api.emulator.objects)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(
            ModelNotReadyException, match=r"^The model a\.tar\.gz is being loaded; try again\.$"
        ) as error:
            cache.enter("a.tar.gz", 0.05)
        assert (error.value.code, error.value.status) == ("ModelNotReadyException", 429)
    container.loaded.set()
    model = cache.enter("a.tar.gz", 60)
    assert "a.tar.gz" in cache
    assert container.asked == 1  # the load of the first request went on
    cache.leave(model)


def test_a_model_that_is_asked_for_while_it_is_unloaded_is_loaded_after_that(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ModelCacheSetting Disabled: each request's model is unloaded behind it."""

    def fetch(objects: object, uri: str, directory: Path, limit: object) -> None:
        """At once, so that the load would overtake the unload."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "file").touch()

    monkeypatch.setattr(model_data, "fetch_archive", fetch)
    api.put("many", "a.tar.gz", archive("a"))
    container = SlowContainer(tmp_path / "ml")
    container.loaded.set()
    definition = {"ModelDataUrl": "s3://many/", "MultiModelConfig": {"ModelCacheSetting": "Disabled"}}
    cache = ModelCache(container, definition, api.emulator.objects)  # type: ignore[arg-type]
    cache.leave(cache.enter("a.tar.gz", 60))
    next_one = gevent.spawn(cache.enter, "a.tar.gz", 60)
    for _ in range(5):
        gevent.sleep(0)
    container.unloaded.set()
    model = next_one.get()
    assert container.models == [model.name]
    assert (tmp_path / "ml" / "models" / model.name / "model" / "file").exists()


def test_a_model_that_is_in_use_is_unloaded_after_that(api: Api, tmp_path: Path) -> None:
    """Its archive changes meanwhile; of two requests for the new one, one loads it."""
    api.put("many", "a.tar.gz", archive("a"))
    container = SlowContainer(tmp_path / "ml")
    container.loaded.set()
    container.unloaded.set()
    cache = ModelCache(container, {"ModelDataUrl": "s3://many/"}, api.emulator.objects)  # type: ignore[arg-type]
    old = cache.enter("a.tar.gz", 60)
    api.put("many", "a.tar.gz", archive("another"))
    new, same = (gevent.spawn(cache.enter, "a.tar.gz", 60) for _ in range(2))
    assert new.get() is same.get()
    assert container.models == [old.name, new.get().name]
    cache.leave(old)
    wait_for(lambda: container.models == [new.get().name])
    assert container.asked == 2


def test_who_waited_for_a_load_hears_why_it_failed(api: Api, tmp_path: Path) -> None:
    api.put("many", "a.tar.gz", b"no archive")
    cache = ModelCache(
        SlowContainer(tmp_path / "ml"),  # type: ignore[arg-type]
        {"ModelDataUrl": "https://many.s3.us-west-2.amazonaws.com/"},
        api.emulator.objects,
    )
    requests = [gevent.spawn(refusal, cache) for _ in range(2)]
    assert [request.get() for request in requests] == ["ValidationError"] * 2


def refusal(cache: ModelCache) -> str:
    with pytest.raises(AwsError, match="cannot be unpacked") as error:
        cache.enter("a.tar.gz", 60)
    return error.value.code
