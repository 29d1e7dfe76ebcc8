"""Counts of processes that come and go, as one sum."""

from __future__ import annotations

from typing import Any

from tfsd.control.metrics.capture_totals import CaptureTotals


def said(since: int, written: int) -> dict[str, Any]:
    return {"since": since, "written": written, "lost": {"disk": 1}}


def test_each_process_counts_from_its_beginning() -> None:
    totals = CaptureTotals()
    for document in (said(1, 10), said(1, 12), said(2, 3)):
        totals.heard("worker-a", document)
    totals.heard("worker-b", said(1, 100))
    assert (totals.written, totals.lost["disk"]) == (115, 3)


def test_of_programs_that_have_gone_the_sums_remain() -> None:
    totals = CaptureTotals()
    for number in range(100):
        totals.heard(f"worker-{number}", said(1, 10))
        totals.forget_all_but({f"worker-{number}"})
    assert totals.written == 1000
    assert list(totals.to_document()["last"]) == ["worker-99"]
    totals.heard("worker-99", said(1, 11))
    assert totals.written == 1001
