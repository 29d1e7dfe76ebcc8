"""Several models behind an nginx without njs: a model with code needs a name that nginx finds by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.multi_model import MultiModelStack
from support.nginx_choice import environ_for
from tfsd.stack.multi_model import PLAIN_NAME

CODE = "def handler(data, context):\n    return context.model_name\n"


@pytest.fixture(scope="module")
def stack(quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultiModelStack]:
    environ = environ_for("none", tmp_path_factory.mktemp("nginx"))
    environ["SAGEMAKER_TFS_BINARY"] = str(quick_model_server)
    with MultiModelStack(tmp_path_factory.mktemp("stack"), environ) as stack:
        yield stack


@pytest.mark.parametrize(
    "name", ["half_plus-two.1", "a" * 41, "half plus two", "模型"], ids=["plain", "long", "spaces", "chinese"]
)
def test_a_model_with_code_is_found_or_refused(stack: MultiModelStack, models: Path, name: str) -> None:
    answer = stack.load(name, stack.lay(f"coded-{name}", models / "half_plus_two", CODE))

    if PLAIN_NAME.fullmatch(name):
        assert (answer.status_code, stack.ask(name).text) == (200, name)
        assert stack.unload(name).status_code == 200
    else:
        assert (answer.status_code, "nginx has no njs module" in answer.json()["error"]) == (400, True)
        assert stack.names() == []


def test_a_model_without_code_may_have_any_name(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("模型", stack.lay("plain", models / "half_plus_two"))

    assert stack.ask("模型").json() == {"predictions": [3.5]}
