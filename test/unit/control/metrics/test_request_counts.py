"""Counting lines of the log of requests."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.control.metrics.request_counts import BUCKETS, RequestCounts

MODELS = ["half_plus_two", "naïve model", "a\tb", "-x"]


def line(route: str, model: str, status: int, seconds: str) -> bytes:
    return f"2026-01-01T00:00:00+00:00\t{route}\t{model}\t{status}\t{seconds}\t220".encode()


GOOD = st.tuples(
    st.sampled_from(["direct", "worker", "control", "-"]),
    st.sampled_from([*MODELS, "-"]),
    st.integers(100, 599),
    st.integers(0, 10**6).map(lambda n: f"{n / 1000:.3f}"),
)
GARBAGE = st.binary().filter(lambda data: b"\n" not in data and data.count(b"\t") < 4)


@given(st.lists(GOOD.map(lambda entry: (entry, line(entry[0], quote(entry[1]), *entry[2:]))) | GARBAGE))
def test_every_line_is_counted_once_whatever_stands_between(entries: list[Any]) -> None:
    counts = RequestCounts()
    lines = [entry if isinstance(entry, bytes) else entry[1] for entry in entries]
    good = [entry[0] for entry in entries if not isinstance(entry, bytes)]

    counts.add(lines, MODELS)

    assert counts.requests == Counter((route, model, str(status)) for route, model, status, _ in good)
    assert counts.malformed == len(lines) - len(good)
    assert sum(sum(latency.counts) for latency in counts.latencies.values()) == len(good)


@given(st.lists(st.lists(st.binary(max_size=8), max_size=8).map(b"\t".join)))
def test_no_line_raises_or_makes_a_label_of_its_own(lines: list[bytes]) -> None:
    counts = RequestCounts()
    counts.add(lines, MODELS)

    assert counts.malformed + sum(counts.requests.values()) == len(lines)
    assert {model for _, model, _ in counts.requests} <= {*MODELS, "-", "unknown"}


@pytest.mark.parametrize(("seconds", "bucket"), [("0.000", 0), ("0.001", 0), ("0.002", 1), ("61.000", -1)])
def test_a_latency_falls_into_the_smallest_bucket_that_holds_it(seconds: str, bucket: int) -> None:
    counts = RequestCounts()
    counts.add([line("direct", "-", 200, seconds)], MODELS)

    latency = counts.latencies["direct", "-"]
    assert latency.counts[bucket] == 1
    assert latency.total == float(seconds)
    assert len(latency.counts) == len(BUCKETS)


@pytest.mark.parametrize("seconds", ["-", "", "nan", "inf", "-1.0", "0.001, 0.002"])
def test_what_is_no_time_makes_a_line_malformed(seconds: str) -> None:
    counts = RequestCounts()
    counts.add([line("direct", "-", 200, seconds)], MODELS)

    assert (counts.malformed, len(counts.requests)) == (1, 0)


def test_a_model_that_appears_later_gets_its_name() -> None:
    counts = RequestCounts()
    counts.add([line("worker", "later", 404, "0.001")], [])
    counts.add([line("worker", "later", 200, "0.001")], ["later"])

    assert dict(counts.requests) == {("worker", "unknown", "404"): 1, ("worker", "later", "200"): 1}


@given(st.lists(GOOD))
def test_counters_survive_being_stored(entries: list[tuple[str, str, int, str]]) -> None:
    counts = RequestCounts()
    counts.add(
        [line(route, quote(model), status, seconds) for route, model, status, seconds in entries], MODELS
    )

    copy = RequestCounts.from_document(json.loads(json.dumps(counts.to_document())))

    assert (copy.requests, copy.latencies) == (counts.requests, counts.latencies)
    assert copy.malformed == counts.malformed
