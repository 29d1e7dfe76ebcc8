"""`python -m fuzz [--seconds N] [--inputs N] [--seed N] [--stack single|multi]`, in the directory test/."""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

from fuzz.fuzz_stack import fuzz
from fuzz.judge import Broken
from support.code import add_model
from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack

HANDLERS = """
def input_handler(data, context):
    return data.read()

def output_handler(response, context):
    return response.content, response.headers["Content-Type"]
"""

APIS = {"SAGEMAKER_TFS_REST_API": "true", "SAGEMAKER_TFS_V2_API": "true"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on")
    parser.add_argument("--inputs", type=int, default=10**9, help="how many inputs to send at most")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a run")
    parser.add_argument("--stack", choices=("single", "multi", "both"), default="both", help="what is fuzzed")
    options = parser.parse_args()
    models, began, statuses = built_models(), time.monotonic(), collections.Counter[int | None]()
    print(f"fuzz: seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        stacks: list[RunningStack] = []
        if options.stack != "multi":
            stacks.append(single_model(Path(directory), models))
        if options.stack != "single":
            stacks.append(multi_model(Path(directory)))
        for stack in stacks:
            with stack:
                if isinstance(stack, MultiModelStack):
                    stack.loaded("m", stack.lay("m", models / "matrix"))
                try:
                    share = len(stacks)
                    statuses += fuzz(stack, options.seed, options.inputs // share, options.seconds / share)
                except Broken as broken:
                    print(f"fuzz: {broken}\n{stack.log_tail(20)}", file=sys.stderr)
                    return 1
    took = time.monotonic() - began
    found = ", ".join(f"{status or 'closed'}: {count}" for status, count in statuses.most_common())
    print(f"fuzz: {statuses.total()} inputs in {took:.0f} s, and all holds ({found})")
    return 0


def single_model(directory: Path, models: Path) -> RunningStack:
    """Models without code, and one with."""
    served = directory / "models"
    for name in ("half_plus_two", "matrix", "string"):
        add_model(served, name, models / name)
    add_model(served, "coded", models / "half_plus_three", HANDLERS)
    return RunningStack(directory / "single", served, {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "matrix", **APIS})


def multi_model(directory: Path) -> MultiModelStack:
    """A multi-model endpoint."""
    return MultiModelStack(directory / "multi", APIS)


if __name__ == "__main__":
    sys.exit(main())
