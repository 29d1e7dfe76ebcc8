#!/usr/bin/env python3
"""What capturing costs: CPU time of a whole stack per small JSON request, with capture off, at 5 % and at 100 %.

    ./bin/local bench bench_capture [--rounds N] [--seconds S]

Four stacks of half_plus_two on the embedded model server (or SAGEMAKER_TFS_BINARY), two of them with capture off: what
the second costs of the first, which is nothing, shows how far the other figures can be believed. All are loaded in
turn, for a short time and in another order each round; a ratio is of two stacks in the same round, and its median over
the rounds has a 95 % confidence interval (bootstrap). "serving" leaves the model server out.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from bench.table.load import Clients, Request
from bench.table.processes import cpu_seconds, run_time
from bench.table.servers import SMALL
from support.models import built_models
from support.stack import RunningStack

PERCENTS = (0, 0, 5, 100)
CLIENTS = 16


class Measured:
    """A stack that captures `percent` of its requests, and CPU microseconds per request by round."""

    def __init__(self, stack: RunningStack, clients: Clients, percent: int) -> None:
        self.percent = percent
        self._clients = clients
        servers = {server.program for model in stack.plan().models.values() for server in model.servers}
        model_servers = {stack.pid(program) for program in servers}
        self._all = list(stack.processes())
        self._serving = [pid for pid in self._all if pid not in model_servers]
        self.all_us: list[float] = []
        self.serving_us: list[float] = []

    def measure(self, seconds: float) -> None:
        before = cpu_seconds(self._all), self._of_serving()
        count = len(self._clients.load(seconds).latencies)
        self.all_us.append((cpu_seconds(self._all) - before[0]) / count * 1e6)
        self.serving_us.append((self._of_serving() - before[1]) / count * 1e6)

    def _of_serving(self) -> float:
        return sum(map(run_time, self._serving)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.4, help="of load, for each stack in each round")
    options = parser.parse_args()
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        model = directory / "model"
        model.mkdir()
        (model / "half_plus_two").symlink_to(built_models() / "half_plus_two")
        measured = []
        for number, percent in enumerate(PERCENTS):
            stack = running.enter_context(started(directory / f"stack-{number}", model, percent))
            request = Request(stack.port, "/invocations", SMALL, "application/json")
            measured.append(Measured(stack, running.enter_context(Clients(request, CLIENTS)), percent))
        for one in measured:
            one.measure(1)
            del one.all_us[:], one.serving_us[:]
        for number in range(options.rounds):
            for one in random.Random(number).sample(measured, len(measured)):
                one.measure(options.seconds)
    print(f"{'captured':>10}{'stack µs':>10}{'serving µs':>12}   ratio to none: stack, serving")
    for one in measured:
        ratios = [
            median_ratio(off, on)
            for off, on in ((measured[0].all_us, one.all_us), (measured[0].serving_us, one.serving_us))
        ]
        figures = f"{statistics.median(one.all_us):10.1f}{statistics.median(one.serving_us):12.1f}"
        print(f"{one.percent:8} %{figures}   {ratios[0]}, {ratios[1]}")


def median_ratio(before: Sequence[float], after: Sequence[float]) -> str:
    """The median of after / before over the rounds, with its confidence interval."""
    ratios = np.array(after) / np.array(before)
    if np.ptp(ratios) == 0:
        return f"{ratios[0]:.3f}"
    found = stats.bootstrap([ratios], np.median, method="percentile", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def started(directory: Path, model: Path, percent: int) -> RunningStack:
    directory.mkdir()
    environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    if percent:
        environ["SAGEMAKER_TFS_CAPTURE_DIR"] = str(directory / "captured")
        environ["SAGEMAKER_TFS_CAPTURE_PERCENT"] = str(percent)
        (directory / "captured").mkdir()
    return RunningStack(directory / "stack", model, environ)


if __name__ == "__main__":
    main()
