"""User code: the documented examples as they are, the example of this project, and code of each model's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from support.stack import RunningStack

ROOT = Path(__file__).parents[2]
DOCUMENTED = ROOT / "test" / "resources" / "handlers"
DIGITS = ROOT / "examples" / "digits"
PICTURE = (DIGITS / "sample.png").read_bytes()
TINTED = """
import json
import shade  # in code/lib
from helper import shout  # beside this script

def handler(data, context):
    return json.dumps({"shade": shade.NAME, "model": shout(context.model_name)}), "application/json"
"""


def add_model(directory: Path, saved_model: Path, script: str | Path | None = None) -> None:
    """Lay a copy of a SavedModel as version 1, with an inference.py beside it."""
    shutil.copytree(saved_model, directory / "1")
    if script is not None:
        (directory / "code").mkdir()
        text = script.read_text() if isinstance(script, Path) else script
        (directory / "code" / "inference.py").write_text(text)


def tree(directory: Path) -> dict[str, tuple[int, float, bytes]]:
    """Everything below a directory: mode, time of change, content."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode,
            path.stat().st_mtime,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (directory, *directory.rglob("*"))
    }


@pytest.fixture(scope="module")
def model_dir(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("handlers")
    half_plus_two = models / "half_plus_two" / "123"
    add_model(directory / "half_plus_two", half_plus_two)
    add_model(directory / "half_plus_three", models / "half_plus_three" / "1", DOCUMENTED / "single.py")
    add_model(directory / "pictures", DIGITS / "digits" / "1", DOCUMENTED / "image.py")
    add_model(directory / "digits", DIGITS / "digits" / "1", DIGITS / "code" / "inference.py")
    for name, shade in (("amber", "yellow"), ("azure", "blue")):
        add_model(directory / name, half_plus_two, TINTED)
        code = directory / name / "code"
        (code / "lib").mkdir()
        (code / "lib" / "shade.py").write_text(f"NAME = {shade!r}\n")
        (code / "helper.py").write_text("def shout(text):\n    return text.upper()\n")
    (directory / "code").mkdir()
    shutil.copy(DOCUMENTED / "pair.py", directory / "code" / "inference.py")
    for path in directory.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    directory.chmod(0o555)
    return directory


@pytest.fixture(scope="module")
def before(model_dir: Path) -> dict[str, tuple[int, float, bytes]]:
    return tree(model_dir)


@pytest.fixture(scope="module")
def stack(model_dir: Path, before: object, start_stack: Callable[..., RunningStack]) -> RunningStack:
    return start_stack(
        model_dir,
        SAGEMAKER_MODEL_SERVER_WORKERS="1",
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
        PYTHONDONTWRITEBYTECODE="",  # as in a container
    )


@pytest.mark.parametrize(
    ("model", "predictions"), [("half_plus_two", [2.5, 3.0]), ("half_plus_three", [3.5, 4.0])]
)
@pytest.mark.parametrize(
    ("body", "content_type"), [('{"instances": [1.0, 2.0]}', "application/json"), ("1.0,2.0", "text/csv")]
)
def test_documented_handlers(
    stack: RunningStack, model: str, predictions: list[float], body: str, content_type: str
) -> None:
    answer = stack.invoke(body, content_type, attributes=f"tfs-model-name={model}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == {"predictions": predictions}
    answer = stack.invoke(body, content_type, attributes=f"tfs-model-name={model}", Accept="text/x-mine")
    assert answer.headers["Content-Type"] == "text/x-mine"


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_three"])
def test_documented_handlers_refuse_what_they_do_not_know(stack: RunningStack, model: str) -> None:
    answer = stack.invoke("x", "image/png", attributes=f"tfs-model-name={model}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/json")
    assert "unsupported content type image/png" in answer.text
    answer = stack.invoke('{"instances": ["a"]}', attributes=f"tfs-model-name={model}")
    assert answer.status_code == 500
    assert "is not of expected type: float" in answer.json()["error"]


def test_documented_image_handler(stack: RunningStack) -> None:
    answer = stack.invoke(PICTURE, "application/x-image", attributes="tfs-model-name=pictures")
    assert answer.status_code == 200, answer.text
    prediction = answer.json()["predictions"][0]
    assert len(prediction["probabilities"]) == 10
    answer = stack.invoke("x", "text/plain", attributes="tfs-model-name=pictures")
    assert answer.status_code == 500
    assert 'Error: 415, Unsupported content type "text/plain"' in answer.json()["error"]


def test_example_of_this_project(stack: RunningStack) -> None:
    answer = stack.invoke(PICTURE, "application/x-image", attributes="tfs-model-name=digits")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["digit"] == max(range(10), key=document["probabilities"].__getitem__)
    assert max(document["probabilities"]) > 0.5
    assert sum(document["probabilities"]) == pytest.approx(1, abs=1e-3)
    answer = stack.invoke("x", "text/plain", attributes="tfs-model-name=digits")
    assert (answer.status_code, "application/x-image" in answer.json()["error"]) == (415, True)
    answer = stack.invoke(b"no picture", "application/x-image", attributes="tfs-model-name=digits")
    assert answer.status_code == 400


def test_modules_of_two_models_never_meet(stack: RunningStack) -> None:
    for _ in range(3):
        for model, shade in (("amber", "yellow"), ("azure", "blue")):
            answer = stack.invoke("", attributes=f"tfs-model-name={model}")
            assert answer.json() == {"shade": shade, "model": model.upper()}


def test_unknown_model_names_all_models_whichever_pool_answers(stack: RunningStack) -> None:
    answer = stack.invoke("{}", attributes="tfs-model-name=nope")
    assert answer.status_code == 404
    for model in ("amber", "azure", "digits", "half_plus_three", "half_plus_two", "pictures"):
        assert repr(model) in answer.json()["error"]


def test_every_pool_has_its_program(stack: RunningStack) -> None:
    states = {line.split()[0]: line.split()[1] for line in stack.ctl("status").splitlines()}
    workers = {program for program in states if program.startswith("worker-")}
    names = ("amber", "azure", "default", "digits", "half_plus_three", "pictures")
    assert workers == {f"worker-{name}" for name in names}
    assert set(states.values()) == {"RUNNING"}


def test_handlers_own_requests_are_counted_as_one(stack: RunningStack) -> None:
    """The seed's single handler posts to the model server itself: the endpoint's clients see one request."""
    stack.invoke('{"instances": [1.0]}', attributes="tfs-model-name=half_plus_three")
    wanted = 'tfsd_requests_total{model="half_plus_three",route="worker",status="200"}'
    stack.wait_for(lambda: wanted in requests.get(stack.url("/metrics"), timeout=10).text, 10, "counted")


def test_nothing_is_written_to_the_model_directory(
    stack: RunningStack, model_dir: Path, before: dict[str, tuple[int, float, bytes]]
) -> None:
    stack.invoke("", attributes="tfs-model-name=amber")
    assert json.dumps(sorted(tree(model_dir))) == json.dumps(sorted(before))
    assert tree(model_dir) == before
