"""The inference code that README and the how-to show, run on a stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.code import add_model
from support.models import built_models
from support.stack import RunningStack

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HOW_TO = ROOT / "docs" / "how-to" / "inference-code.md"
RIGHT = "# input_fn and output_fn"


@pytest.fixture(scope="module")
def stack(start_stack: Callable[..., RunningStack], tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    blocks = python_blocks(HOW_TO)
    [short] = python_blocks(README)
    side_by_side = next(block for block in blocks if RIGHT in block)
    column = side_by_side.index(RIGHT)
    lines = side_by_side.splitlines()
    # the left side's last line runs under the right side's, which has ended
    left = [line if line[column - 1 : column].strip() else line[:column].rstrip() for line in lines]
    right = [line[column:] for line in lines if not line[column - 1 : column].strip()]
    models = built_models("legacy")
    directory = tmp_path_factory.mktemp("readme")
    add_model(directory, "left", models / "scale", "\n".join(left))
    add_model(directory, "right", models / "scale", "\n".join(right))
    add_model(
        directory, "grpc", models / "echo", next(block for block in blocks if "context.channel" in block)
    )
    add_model(directory, "readme", built_models() / "half_plus_two", short)
    return start_stack(directory, SAGEMAKER_MODEL_SERVER_WORKERS="1")


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("model", ["left", "right"])
def test_both_styles_do_the_same(stack: RunningStack, model: str) -> None:
    answer = stack.invoke('{"rows": [[1, 2, 3, 4], [0, 0, 0, 5]]}', attributes=f"tfs-model-name={model}")
    assert (answer.json(), answer.headers["Content-Type"]) == ({"best": 15.0}, "application/json")


def test_grpc_from_a_handler(stack: RunningStack) -> None:
    assert stack.invoke("", attributes="tfs-model-name=grpc").json() == {"y": [1.0, 2.0]}


def test_the_handler_of_readme(stack: RunningStack) -> None:
    answer = stack.invoke('{"instances": [1.0, 5.0]}', attributes="tfs-model-name=readme")
    assert answer.json() == {"best": 5.5}
