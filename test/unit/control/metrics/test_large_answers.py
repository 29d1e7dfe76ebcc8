"""Marks of models whose answers are large."""

from __future__ import annotations

from pathlib import Path

from tfsd.control.metrics.large_answers import LARGE_BYTES, REMEMBERED_SECONDS, LargeAnswers
from tfsd.control.metrics.request_counts import RequestCounts
from tfsd.plan import Model
from tfsd.run_dir import RunDir

MODELS = {name: Model(name, "/", (1,), ()) for name in ("small", "large one", "odd")}
MARKS = {name: f"model_{index}" for index, name in enumerate(MODELS)}


def line(route: str, label: str, size: int) -> bytes:
    return f"1\t{route}\t{label}\t200\t0.1\t{size}\t-\t-\tid".encode()


def test_a_model_is_marked_while_its_answers_are_large(tmp_path: Path) -> None:
    run_dir, now = RunDir(tmp_path), [0.0]
    run_dir.make(multi_model=False)
    large = LargeAnswers(run_dir, lambda: now[0])
    lines = [
        line("direct", "small", LARGE_BYTES),
        line("direct", "large%20one", LARGE_BYTES + 1),
        line("worker", "odd", 1_000_000),
        line("direct", "-", 1_000_000),
    ]

    RequestCounts().add(lines, MODELS, on_large=large.answered)
    large.look(MARKS)
    assert [path.name for path in run_dir.large_answers.iterdir()] == ["model_1"]

    now[0] = REMEMBERED_SECONDS
    large.look(MARKS)
    assert not list(run_dir.large_answers.iterdir())
