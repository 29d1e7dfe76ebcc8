"""Requests made up from the endpoint's own description: each answer has a status that the description names.

With both APIs that name a model in their paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from integration.conftest import PLAIN_MODELS, StartStack, linked
from support.stack import RunningStack

if TYPE_CHECKING:
    from schemathesis import Case

#: Of each operation that has anything to make up: always the same 30, and in hypothesis' deep profile more.
EXAMPLES = 30 * settings().max_examples // 100
SERIALIZED_HERE = ("application/jsonlines", "application/x-ndjson", "text/csv")


@pytest.fixture(scope="module")
def stack(
    models: Path, quick_model_server: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> RunningStack:
    return start_stack(
        linked(tmp_path_factory.mktemp("models"), models, *PLAIN_MODELS),
        SAGEMAKER_TFS_BINARY=str(quick_model_server),
        SAGEMAKER_TFS_REST_API="true",
        SAGEMAKER_TFS_V2_API="true",
    )


@pytest.fixture(scope="module")
def operations(stack: RunningStack) -> list[Any]:
    import schemathesis  # a second of CPU in each process that collects tests
    from schemathesis.core.result import Ok

    for media_type in SERIALIZED_HERE:
        schemathesis.serializer(media_type)(lambda _context, value: str(value).encode("utf-8", "replace"))
    schema = schemathesis.openapi.from_url(stack.url("/openapi.json"))
    found = list(schema.get_all_operations())
    assert all(isinstance(one, Ok) for one in found), found
    return [one.ok() for one in found if isinstance(one, Ok)]


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_described(operations: list[Any], mode: str) -> None:
    statuses: set[tuple[str, int]] = set()
    for operation in operations:
        if operation.body:
            statuses |= statuses_of(operation, mode, EXAMPLES)
        elif mode == "positive":
            statuses |= statuses_of(operation, mode, 1)
    assert ("/invocations", 400) in statuses
    assert {path.split("/")[1] for path, _ in statuses} >= {"v1", "v2"}


def statuses_of(operation: Any, mode: str, examples: int) -> set[tuple[str, int]]:
    """(path, status) of the answers to made-up requests. Fails at one that is not described."""
    from schemathesis import GenerationMode

    found: set[tuple[str, int]] = set()
    described = operation.definition.raw["responses"]

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(operation.as_strategy(generation_mode=GenerationMode(mode)))
    def ask(case: Case[Any]) -> None:
        response = case.call(timeout=60)
        found.add((operation.path, response.status_code))
        assert str(response.status_code) in described, f"{case.as_curl_command()}\n{response.text}"
        if response.status_code >= 400:
            assert list(response.json()) == ["error"]

    ask()
    return found
