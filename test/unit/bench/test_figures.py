from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.table.figures import Sample, Spread, figures, load, save, slower

KEY = ("handler pair", 16)


def samples(*cpu: float) -> list[Sample]:
    return [Sample(value, 100.0, [0.01] * 99 + [0.02]) for value in cpu]


def test_a_ratio_is_taken_within_a_round() -> None:
    found = figures(samples(2e-4, 20e-4, 6e-4), samples(1e-4, 10e-4, 2e-4))
    assert dataclasses.astuple(found.ratio) == pytest.approx((2.0, 2.0, 2.5))
    assert found.cpu == pytest.approx(600)


def test_the_tail_is_of_all_latencies_together() -> None:
    found = figures(samples(1.0, 1.0), samples(1.0, 1.0))
    assert found.p50 == pytest.approx(10)
    assert found.tail == pytest.approx(2)


def test_one_round_has_no_spread() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = {KEY: figures(samples(2e-4, 3e-4), samples(1e-4, 1e-4))}
    save(tmp_path / "baseline.json", found, {"cpus": 2})
    assert load(tmp_path / "baseline.json") == {KEY: Spread(2.5, 2.25, 2.75)}


@pytest.mark.parametrize(
    ("ratio", "found"),
    [
        (Spread(4.5, 4.1, 5.0), [KEY]),
        (Spread(4.5, 3.9, 5.0), []),  # within the spread
        (Spread(2.0, 1.9, 2.1), []),  # faster
    ],
    ids=["slower", "within", "faster"],
)
def test_slower_is_what_the_spreads_do_not_explain(ratio: Spread, found: list[tuple[str, int]]) -> None:
    assert slower({KEY: ratio}, {KEY: Spread(3.5, 3.0, 4.0)}) == found


def test_a_new_row_is_not_slower() -> None:
    assert slower({KEY: Spread(9.0, 9.0, 9.0)}, {}) == []
