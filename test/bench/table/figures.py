"""What was measured, as figures: medians, ratios to plain proxying, spreads; a baseline, and what is slower than it.

A ratio is taken within a round, of two measurements that were made one after the other, so that whatever else the
machine does weighs on both.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

Key = tuple[str, int]
"""A row's name, and how many clients."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One measurement: CPU time of the servers for each request, and their latencies, in seconds."""

    cpu: float
    rate: float
    latencies: list[float]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over the rounds: its median, and its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclasses.dataclass(frozen=True)
class Figures:
    """A row's figures for so many clients: CPU of a request and plain proxying's in µs, their ratio, requests a second,
    the median latency in ms, and the 99th percentile's ratio to it."""

    cpu: float
    plain: float
    ratio: Spread
    rate: float
    p50: float
    tail: float


def figures(samples: list[Sample], plain: list[Sample]) -> Figures:
    """Of a row's samples and those of plain proxying in the same rounds."""
    latencies = sorted(latency for sample in samples for latency in sample.latencies)
    p50 = statistics.median(latencies)
    return Figures(
        cpu=statistics.median(sample.cpu for sample in samples) * 1e6,
        plain=statistics.median(sample.cpu for sample in plain) * 1e6,
        ratio=Spread.of(ours.cpu / other.cpu for ours, other in zip(samples, plain, strict=True)),
        rate=statistics.median(sample.rate for sample in samples),
        p50=p50 * 1e3,
        tail=latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))] / p50,
    )


def save(path: Path, found: Mapping[Key, Figures], conditions: Mapping[str, object]) -> None:
    """Write a baseline; `conditions` say how it was measured."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for (name, clients), row in found.items():
        rows.setdefault(name, {})[str(clients)] = {
            "ratio": round(row.ratio.median, 3),
            "low": round(row.ratio.low, 3),
            "high": round(row.ratio.high, 3),
            "p99/p50": round(row.tail, 2),
        }
    path.write_text(json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")


def load(path: Path) -> dict[Key, Spread]:
    """The ratios of a baseline."""
    rows = json.loads(path.read_text())["rows"]
    return {
        (name, int(clients)): Spread(row["ratio"], row["low"], row["high"])
        for name, by_clients in rows.items()
        for clients, row in by_clients.items()
    }


def slower(now: Mapping[Key, Spread], before: Mapping[Key, Spread]) -> list[Key]:
    """What costs more than it did, beyond the spread of both: of the two, the quartiles do not overlap."""
    return [key for key, ratio in now.items() if key in before and ratio.low > before[key].high]
