#!/usr/bin/env python3
"""What a multi-model endpoint costs: CPU time of an invocation beside single-model mode, and loading of models.

    ./bin/local bench bench_multi_model [--rounds N] [--seconds S] [--models N]

Invocations: the model server is a stub, as in bench_routes; all cases interleaved. Loads: with the model server of
this machine (the embedded one where there is no tensorflow_model_server) and a model of a few kB; the time from
POST /models to 200, and the memory (PSS) that all processes of the stack have more of. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.bench_routes import HANDLERS, SMALL_JSON, STUB, Case, load, model_dir
from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack

CSV = "1.0,2.0,5.0"
MB = 1 << 20


def invocations(directory: Path, rounds: int, seconds: int) -> None:
    """Measure and print the cost of an invocation in both modes."""
    environ = {"SAGEMAKER_TFS_BINARY": str(STUB)}
    with contextlib.ExitStack() as running:
        cases = []
        for number, (kind, script) in enumerate((("no code", None), ("pair", HANDLERS / "pair.py"))):
            model = model_dir(directory / f"model{number}", script)
            single = running.enter_context(RunningStack(directory / f"single{number}", model, environ))
            multi = running.enter_context(MultiModelStack(directory / f"multi{number}", environ))
            shutil.copytree(model, multi.models_dir / "m")
            multi.loaded("m", str(multi.models_dir / "m"))
            for mode, stack, url in (
                ("single-model", single, single.url("/invocations")),
                ("multi-model ", multi, multi.invoke_url("m")),
            ):
                for body, content_type in ((SMALL_JSON, "application/json"), (CSV, "text/csv")):
                    name = f"{mode} {kind:8} {content_type}"
                    cases.append(Case(name, url, body, content_type, [stack.pid("nginx")], _workers(stack)))
        for case in cases:
            load(case, 1)
        for _ in range(rounds):
            for case in cases:
                case.measure(seconds)
        print(f"{'invocation':42} {'nginx us':>9} {'worker us':>10} {'sum us':>8} {'requests/s':>11}")
        for case in sorted(cases, key=lambda case: case.name[13:]):
            nginx, worker = statistics.median(case.nginx_us), statistics.median(case.worker_us)
            rate = statistics.median(case.rates)
            print(f"{case.name:42} {nginx:9.0f} {worker:10.0f} {nginx + worker:8.0f} {rate:11.0f}")


def _workers(stack: RunningStack) -> list[int]:
    lines = [line.split() for line in stack.ctl("status").splitlines() if line.startswith("worker-")]
    return [int(words[words.index("pid") + 1].rstrip(",")) for words in lines]


def loads(directory: Path, count: int) -> None:
    """Measure and print what loading a model takes."""
    model = built_models() / "half_plus_two"
    pair = (HANDLERS / "pair.py").read_text()
    print(f"\n{'load':42} {'seconds':>9} {'MB a model':>10}")
    for name, code, environ in (
        ("a model server each", None, {}),
        ("a model server each, with code/", pair, {}),
        ("sharing a model server: the first", None, {"SAGEMAKER_TFS_MODELS_PER_PROCESS": "100"}),
    ):
        with MultiModelStack(Path(tempfile.mkdtemp(dir=directory)), environ) as stack:
            memory = [_pss(stack)]
            took = []
            for number in range(count):
                url = stack.lay(f"m{number}", model, code)
                started = time.monotonic()
                stack.loaded(f"m{number}", url)
                took.append(time.monotonic() - started)
                stack.ask(f"m{number}", {"instances": [1.0]})
                memory.append(_pss(stack))
            if "first" in name:
                print(f"{name:42} {took[0]:9.2f} {(memory[1] - memory[0]) / MB:10.0f}")
                took, memory = took[1:], memory[1:]
                name = "sharing a model server: each further one"
            grown = (memory[-1] - memory[0]) / len(took) / MB
            print(f"{name:42} {statistics.median(took):9.2f} {grown:10.1f}")


def _pss(stack: RunningStack) -> int:
    """Bytes of all processes of the stack; what they share is divided among them."""
    total = 0
    for pid in stack.processes():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load, for each case in each round")
    parser.add_argument("--models", type=int, default=4, help="loaded one after another in each case")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this benchmark needs wrk (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as directory:
        invocations(Path(directory), options.rounds, options.seconds)
        loads(Path(directory), options.models)
    print(f"\n{os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
