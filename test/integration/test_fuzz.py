"""A short run of the fuzzer; the long one is `python -m fuzz` in test/."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.fuzz_stack import fuzz
from integration.conftest import StartStack
from support.code import add_model
from support.stack import RunningStack

INPUTS = 400
SEED = 20261125


@pytest.fixture(scope="module")
def stack(models: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    directory = tmp_path_factory.mktemp("models")
    for name in ("half_plus_two", "matrix"):
        add_model(directory, name, models / name)
    apis = {"SAGEMAKER_TFS_REST_API": "true", "SAGEMAKER_TFS_V2_API": "true"}
    return start_stack(directory, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="matrix", **apis)


ROWS = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(-1000, 1000), min_size=2, max_size=2),
    min_size=1,
    max_size=4,
)


@given(ROWS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_form_of_the_same_rows_gives_the_same_predictions(
    stack: RunningStack, rows: list[list[float]]
) -> None:
    document = json.dumps({"instances": rows})
    forms = [
        (document.encode(), "application/json"),
        (json.dumps(rows).encode(), "application/json"),
        (document.encode("utf-16"), "application/json; charset=utf-16"),
        ("".join(f"{json.dumps(row)}\n" for row in rows).encode(), "application/jsonlines"),
        ("".join(",".join(map(str, row)) + "\n" for row in rows).encode(), "text/csv"),
        (gzip.compress(document.encode()), "application/json"),
    ]
    answers = []
    for body, content_type in forms:
        encoding = {"Content_Encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}
        answer = stack.invoke(body, content_type, **encoding)
        assert answer.status_code == 200, (content_type, answer.text)
        answers.append(answer.json())
    assert all(answer == answers[0] for answer in answers)


def test_whatever_is_sent_the_rules_hold(stack: RunningStack) -> None:
    assert fuzz(stack, SEED, INPUTS).total() == INPUTS
