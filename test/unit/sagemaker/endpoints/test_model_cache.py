"""Target models against a container that takes its time. How many there are room for: test_runtime.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")

from gevent.event import Event

from tfsd.sagemaker.endpoints.model_cache import ModelCache
from tfsd.sagemaker.errors import ModelNotReadyException

from ..conftest import Api, archive


class SlowContainer:
    """Answers once `loaded` is set. It plays the instance, the container and its answer."""

    status = 200

    def __init__(self, base: Path) -> None:
        self.base = base
        self.containers = [self]
        self.loaded = Event()
        self.asked = 0

    def path_inside(self, path: Path) -> str:
        return str(path)

    def post(self, *_: Any) -> SlowContainer:
        self.asked += 1
        self.loaded.wait()
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
