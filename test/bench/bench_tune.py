#!/usr/bin/env python3
"""The tuner against an exhaustive grid, on models that are devices of known cost a + b * n.

    ./bin/local bench bench_tune [--models flat,linear,mixed] [--time 90s] [--goal 'p99 <= 200 ms'] [--pairs N]

For each model the highest rate under the goal is searched for every cell of a grid (batching off; batch sizes,
timeouts and threads), and by the tuner. Its choice and the grid's best are measured again in interleaved pairs, since
the highest of many noisy figures is too high: their ratio is what counts. Both use the same stacks, load and search.
Takes many minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support import forked_model_server, preloaded_model_server
from support.models import built_models
from tfsd.local.model_argument import base_dir
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack.model_server_flags import EMBEDDED
from tfsd.tuner import intervals, trials, verdict
from tfsd.tuner.candidate import Batching, Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import LoadGenerator, Request
from tfsd.tuner.stacks import Stack, environment
from tfsd.tuner.trials import GeneratorWasSlow, Trial
from tfsd.tuner.tuning import LoadedStack

SIZES = (2, 4, 8, 16, 32)
TIMEOUTS = (0, 2000, 20_000)
THREADS = (1, 2)
BODY = json.dumps({"inputs": {"x": [[0.5] * 4]}}).encode()
RUN_SECONDS = 1.0


class Bench:
    """One model: stacks with any settings, and the highest rate of each."""

    def __init__(self, model: Path, directory: Path, environ: dict[str, str], goal: Goal) -> None:
        directory.mkdir()
        self._directory = directory
        self._goal = goal
        self._environ = environ
        self._base = base_dir(model, RunDir(directory / "model"))
        self.default = Candidate.of(Settings.from_environ({**environ, "SAGEMAKER_BASE_DIR": str(self._base)}))
        self._seeds = itertools.count(1000)

    @contextlib.contextmanager
    def start(self, candidate: Candidate, generator: LoadGenerator, name: str) -> Iterator[LoadedStack]:
        environ = environment(self._environ, candidate.changes(self.default))
        with Stack(self._base, RunDir(self._directory / name), environ, 120) as stack:
            yield LoadedStack(stack, generator, self._goal, Request(BODY), self._seeds)

    def grid(self, generator: LoadGenerator) -> list[Trial]:
        """All cells, each measured from the same first guess."""
        cells: list[Batching | None] = [None]
        cells += [
            Batching(size, micros, threads, 1000)
            for size in SIZES
            for micros in TIMEOUTS
            for threads in THREADS
        ]
        measured = []
        for cell in cells:
            trial = Trial(Candidate(cell, self.default.instances, self.default.workers))
            with (
                self.start(trial.candidate, generator, "grid") as server,
                contextlib.suppress(GeneratorWasSlow),
            ):
                trials.measure(trial, server, self._goal, 40, RUN_SECONDS)
            measured.append(trial)
            print(f"  {trial.candidate.label(self.default):45}{trial.rate or 0:8.1f}", flush=True)
        return measured

    def compare(
        self, first: Trial, second: Trial, generator: LoadGenerator, count: int
    ) -> intervals.Interval:
        """second / first in pairs."""
        with (
            self.start(first.candidate, generator, "first") as one,
            self.start(second.candidate, generator, "second") as other,
        ):
            found: list[tuple[float, float]] = []
            for number in range(3 * count):  # a pair that the machine was too busy for is measured again
                with contextlib.suppress(GeneratorWasSlow):
                    found.append(verdict.pair((first, one), (second, other), self._goal, RUN_SECONDS, number))
                if len(found) == count:
                    break
            if not found:
                sys.exit("this machine is too busy for a comparison")
            return intervals.of_ratio(found)


def tuned(model: Path, directory: Path, environ: dict[str, str], goal: str, seconds: str) -> Candidate | None:
    """What `bin/local tune` chooses, as its report says; None for the default."""
    command = [sys.executable, "-m", "tfsd.tuner", str(model), "--goal", goal, "--time", seconds]
    subprocess.run([*command, "--output", str(directory)], env=environ, check=True, stdout=sys.stderr)
    variables = json.loads((directory / "report.json").read_text())["environment"]
    if not variables:
        return None
    base = directory / "base"
    return Candidate.of(Settings.from_environ({**environ, **variables, "SAGEMAKER_BASE_DIR": str(base)}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="flat,linear,mixed")
    parser.add_argument("--time", default="90s")
    parser.add_argument("--goal", default="p99 <= 200 ms")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    goal = Goal.parse(options.goal)
    rows = []
    with contextlib.ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="tfsd-bench-")))
        preloaded = running.enter_context(preloaded_model_server.shared(directory / "preloaded"))
        binary = directory / "model_server"
        words = [sys.executable, "-S", forked_model_server.__file__, str(preloaded), *EMBEDDED[2:]]
        binary.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        binary.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER_")}
        environ = {**kept, "SAGEMAKER_TFS_BINARY": str(binary), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        generator = running.enter_context(LoadGenerator([Request(BODY)]))
        for name in options.models.split(","):
            model = built_models("tuner") / name
            print(f"{name}:", flush=True)
            bench = Bench(model, directory / name, environ, goal)
            began = time.monotonic()
            choice = tuned(model, directory / f"{name}-report", environ, options.goal, options.time)
            tuner_seconds = time.monotonic() - began
            began = time.monotonic()
            grid = bench.grid(generator)
            grid_seconds = time.monotonic() - began
            best = max(grid, key=lambda trial: trial.rate or 0.0)
            chosen = Trial(choice or bench.default, rate=best.rate)
            ratio = bench.compare(best, chosen, generator, options.pairs)
            rows.append(
                f"{name:8}{best.candidate.label(bench.default):34}{chosen.candidate.label(bench.default):44}"
                f"{ratio.value:6.2f} ({ratio.low:.2f} to {ratio.high:.2f}){tuner_seconds:9.0f} s{grid_seconds:9.0f} s"
                f"{tuner_seconds / grid_seconds:7.2f}"
            )
            print(rows[-1], flush=True)
    print(
        f"\n{'model':8}{'best of the grid':34}{'choice of the tuner':44}{'choice / best':>21}{'tuner':>11}{'grid':>11}"
        f"{'time':>7}"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
