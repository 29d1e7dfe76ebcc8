"""From one model's servers to another's, for code that asks several."""

from __future__ import annotations

import pytest

from tfsd.plan import Model, ModelServer
from tfsd.worker.upstream.client import ModelServers


def test_a_group_knows_the_others() -> None:
    models = {name: Model(name, "/", (1,), (ModelServer(f"model-{name}", 1, 2),)) for name in ("a", "b")}
    servers = ModelServers(models)
    group = servers.of_model("a")
    assert group.other("b") is servers.of_model("b")
    assert group.other("a") is group
    with pytest.raises(LookupError, match="no model 'c'"):
        group.other("c")


def test_a_model_that_comes_later_is_known_too() -> None:
    servers = ModelServers({"a": Model("a", "/", (1,), ())})
    group = servers.of_model("a")
    servers.update({"a": Model("a", "/", (1,), ()), "b": Model("b", "/", (1,), ())})
    assert group.other("b").name == "b"
