#!/usr/bin/env python3
"""What capturing costs: CPU time of a whole stack per small JSON request, with capture off, at 5 % and at 100 %.

    ./bin/local bench bench_capture [--rounds N] [--seconds S]

Three stacks of half_plus_two on the embedded model server (or SAGEMAKER_TFS_BINARY). All are
loaded in turn, in another order each round; a ratio is of two stacks in the same round, with its 95 % confidence
interval over the rounds. "serving" leaves the model server out. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.bench_routes import SMALL_JSON, Case, load
from support.models import built_models
from support.stack import RunningStack
from tfsd.tuner.intervals import of_ratio

PERCENTS = (0, 5, 100)


class Measured:
    """A stack that captures `percent` of its requests, and CPU microseconds per request by round."""

    def __init__(self, stack: RunningStack, percent: int) -> None:
        self.percent = percent
        self._case = Case(
            f"{percent} %", stack.url("/invocations"), SMALL_JSON, "application/json", [], [], []
        )
        servers = {server.program for model in stack.plan().models.values() for server in model.servers}
        model_servers = {stack.pid(program) for program in servers}
        self._all = list(stack.processes())
        self._serving = [pid for pid in self._all if pid not in model_servers]
        self.all_us: list[float] = []
        self.serving_us: list[float] = []

    def measure(self, seconds: int) -> None:
        before = run_time(self._all), run_time(self._serving)
        count, _ = load(self._case, seconds)
        after = run_time(self._all), run_time(self._serving)
        self.all_us.append((after[0] - before[0]) / count / 1000)
        self.serving_us.append((after[1] - before[1]) / count / 1000)


def run_time(pids: list[int]) -> int:
    """Nanoseconds that all threads of the processes have run (proc(5), schedstat)."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that ends
                total += int(path.read_text().split()[0])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=2, help="of load, for each stack in each round")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this benchmark needs wrk (Debian: apt-get install wrk)")
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
        model = directory / "model"
        model.mkdir()
        (model / "half_plus_two").symlink_to(built_models() / "half_plus_two")
        measured = [
            Measured(running.enter_context(started(directory, model, percent)), percent)
            for percent in PERCENTS
        ]
        for one in measured:
            one.measure(1)
            del one.all_us[:], one.serving_us[:]
        for number in range(options.rounds):
            for one in random.Random(number).sample(measured, len(measured)):
                one.measure(options.seconds)
    print(f"{'captured':>10}{'stack µs':>10}{'serving µs':>12}   ratio to none: stack, serving")
    for one in measured:
        ratios = [
            of_ratio(list(zip(off, on, strict=True)))
            for off, on in ((measured[0].all_us, one.all_us), (measured[0].serving_us, one.serving_us))
        ]
        figures = f"{statistics.median(one.all_us):10.1f}{statistics.median(one.serving_us):12.1f}"
        print(f"{one.percent:8} %{figures}   {ratios[0]}, {ratios[1]}")


def started(directory: Path, model: Path, percent: int) -> RunningStack:
    environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    if percent:
        captured = directory / f"captured-{percent}"
        captured.mkdir()
        environ["SAGEMAKER_TFS_CAPTURE_DIR"] = str(captured)
        environ["SAGEMAKER_TFS_CAPTURE_PERCENT"] = str(percent)
    return RunningStack(directory / f"stack-{percent}", model, environ)


if __name__ == "__main__":
    main()
