"""Models are called whatever their directories are called, and every one of them can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from support.stack import RunningStack

# one with a blank, quotes, signs of comments, percent signs; one like nginx's variables; one like a URI's end
ODD = """odd 100% 'it''s' "q"; #x{1}"""
VARIABLE = "a$b ${uri}|^*.+(?:x)"
NAMES = (ODD, VARIABLE, "ns:predict", "-x", "über")
OWN_CODE = (ODD, VARIABLE)
HANDLER = """
import json, requests

def handler(data, context):
    answer = requests.post(context.rest_uri, data=data.read()).json()
    return json.dumps({"model": context.model_name, **answer}), "application/json"
"""


@pytest.fixture(scope="module")
def stack(
    models: Path, start_stack: Callable[..., RunningStack], tmp_path_factory: pytest.TempPathFactory
) -> RunningStack:
    model_dir = tmp_path_factory.mktemp("odd names")
    for name in NAMES:
        (model_dir / name).mkdir()
        (model_dir / name / "1").symlink_to(models / "half_plus_two" / "123")
    for name in OWN_CODE:
        (model_dir / name / "code").mkdir()
        (model_dir / name / "code" / "inference.py").write_text(HANDLER)
    return start_stack(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS="1")


def ask(stack: RunningStack, name: str, body: str, content_type: str) -> requests.Response:
    return requests.post(
        stack.url("/invocations"),
        data=body.encode(),
        headers={
            "Content-Type": content_type,
            "X-Amzn-SageMaker-Custom-Attributes": f"note=1, tfs-model-name = {name} ,tfs-method=predict".encode(),
        },
        timeout=30,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_model_answers_to_its_name(stack: RunningStack, name: str) -> None:
    answer = ask(stack, name, '{"instances": [1.0]}', "application/json")
    wanted = {"model": name, "predictions": [2.5]} if name in OWN_CODE else {"predictions": [2.5]}
    assert (answer.status_code, answer.json()) == (200, wanted)


@pytest.mark.parametrize(
    "name",
    [
        "ns:predict",
        "-x",
        "über",
    ],
)
def test_a_model_answers_to_its_name_through_the_converter(stack: RunningStack, name: str) -> None:
    answer = ask(stack, name, "1.0\n", "text/csv")
    assert (answer.status_code, answer.text) == (200, '{\n    "predictions": [2.5\n    ]\n}')


def test_a_part_of_a_name_is_no_name(stack: RunningStack) -> None:
    for name in ("odd", "odd 100", "a$b", "a", "x", "-", "ns", "ODD", quote(ODD)):
        answer = ask(stack, name, '{"instances": [1.0]}', "application/json")
        assert answer.status_code == 404
        assert answer.json()["error"].startswith(f"There is no model {name!r}")


def test_metrics_and_log_have_the_names(stack: RunningStack) -> None:
    for name in NAMES:
        assert ask(stack, name, '{"instances": [1.0]}', "application/json").status_code == 200

    def counted() -> bool:
        text = requests.get(stack.url("/metrics"), timeout=10).text
        labels = [name.replace("\\", r"\\").replace('"', r"\"") for name in NAMES]
        return all(f'tfsd_requests_total{{model="{label}",route=' in text for label in labels)

    stack.wait_for(counted, 10, "all names on /metrics")
    assert f"model={quote(ODD, safe='')} " in stack.log_text()


def test_supervisorctl_reaches_the_programs(stack: RunningStack) -> None:
    status = stack.ctl("status").splitlines()
    assert len(status) == 2 + len(NAMES) + 1 + len(OWN_CODE)  # nginx, control, model servers, workers
    assert all(line.split()[1] == "RUNNING" for line in status)
    program = stack.plan().models[ODD].servers[0].program
    assert stack.ctl("status", program).split()[:2] == [program, "RUNNING"]
