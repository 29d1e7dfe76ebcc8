"""The user's script: importing it and telling which functions of it are used.

Owns the rules on names (seed documentation, "Pre/Post-Processing"). Never calls a function of the script.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

HANDLER = "handler"
PAIR = ("input_handler", "output_handler")
LEGACY = ("input_fn", "output_fn", "transform_fn")
TRAINING = (
    "estimator_fn",
    "keras_model_fn",
    "model_fn",
    "serving_input_fn",
    "train_input_fn",
)  # of a training script
USABLE = (
    "`handler(data, context)`, or `input_handler(data, context)` with `output_handler(response, context)`, or "
    "`input_fn(serialized_input, content_type)` and `output_fn(prediction_result, accepts)`"
)


class ScriptError(Exception):
    """The script cannot be used; the text is for its author."""


@dataclasses.dataclass(frozen=True)
class Script:
    """An imported script. `style` is 'handler' (one function), 'handlers' (the pair, input first) or 'legacy'
    (as in LEGACY, None for what is not defined)."""

    style: str
    functions: tuple[Any, ...]


def load(path: Path, python_path: Sequence[str]) -> Script:
    """Import the script with `python_path` first on sys.path.

    Raises ScriptError if it defines nothing usable; whatever the script raises on import passes through.
    """
    sys.path[:0] = [entry for entry in python_path if entry not in sys.path]
    return choose(_import(path), path.name)


def choose(module: ModuleType, file_name: str) -> Script:
    """Choose among the functions that a script defines. Raises ScriptError."""
    found = [name for name in (HANDLER, *PAIR, *LEGACY) if getattr(module, name, None) is not None]
    for name in found:
        if not callable(getattr(module, name)):
            raise ScriptError(f"{file_name}: `{name}` is not a function.")
    current = [name for name in found if name not in LEGACY]
    legacy = [name for name in found if name in LEGACY]
    if current and legacy:
        raise ScriptError(
            f"{file_name} defines {_names(current)} and {_names(legacy)}, which are two ways to do the same; "
            "keep one of them."
        )
    if not found and any(callable(getattr(module, name, None)) for name in TRAINING):
        return Script("legacy", (None,) * len(LEGACY))  # the endpoint's defaults serve what it has trained
    if legacy:
        return Script("legacy", tuple(getattr(module, name, None) for name in LEGACY))
    if HANDLER in current:
        return Script("handler", (getattr(module, HANDLER),))
    if not current:
        raise ScriptError(f"{file_name} defines no function that could be used; define {USABLE}.")
    missing = [name for name in PAIR if name not in current]
    if missing:
        raise ScriptError(
            f"{file_name} defines {_names(current)} without `{missing[0]}`; define both, or `{HANDLER}` alone."
        )
    return Script("handlers", tuple(getattr(module, name) for name in PAIR))


def in_script(error: BaseException, path: object) -> Any:
    """The exception with its traceback from the script on, without our own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
        trace = trace.tb_next
    return type(error), error, trace


def _import(path: Path) -> ModuleType:
    """Import under the file's own name, so that what it pickles and its helpers' imports of it work.

    A name that is already taken (`json.py`) is not taken over.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"{path.name} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    registered = sys.modules.setdefault(path.stem, module) is module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if registered:
            del sys.modules[path.stem]
        raise
    return module


def _names(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
