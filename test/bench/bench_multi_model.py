#!/usr/bin/env python3
"""What loading models costs in a multi-model endpoint (for its invocations see bench_table).

    ./bin/local bench bench_multi_model [--models N]

With the model server of this machine (the embedded one where there is no tensorflow_model_server) and a model of a few
kB; the time from POST /models to 200, and the memory (PSS) that all processes of the stack have more of.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack

HANDLERS = Path(__file__).resolve().parents[1] / "resources" / "handlers"
MB = 1 << 20


def loads(directory: Path, count: int) -> None:
    """Measure and print what loading a model takes."""
    model = built_models() / "half_plus_two"
    pair = (HANDLERS / "pair.py").read_text()
    print(f"{'load':42} {'seconds':>9} {'MB a model':>10}")
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
    parser.add_argument("--models", type=int, default=4, help="loaded one after another in each case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        loads(Path(directory), options.models)
    print(f"\n{os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
