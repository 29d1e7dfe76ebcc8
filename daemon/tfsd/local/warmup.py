"""`bin/local warmup`: makes warm-up requests of captured ones, which a model server replays before a version is served.

Owns which captured request is for which model. Turning them into records takes TensorFlow: a child process of the
embedded model server's does it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from tfsd import attributes
from tfsd.capture_format import JSON_TYPES, Invocation
from tfsd.errors import HttpError, StartError, sentence
from tfsd.local.captures import invocations
from tfsd.model_directory import FoundModel, find_models, version_of
from tfsd.settings import Settings
from tfsd.words import counted

MAX_REQUESTS = 1000  # TensorFlow Serving refuses a file with more


class WarmupError(StartError):
    """No warm-up requests can be written; the text says why."""


@dataclasses.dataclass
class Sorted:
    """Bodies of TensorFlow Serving's JSON by model, and how many requests are none."""

    bodies: dict[str, list[str]]
    skipped: int = 0


def main(words: Sequence[str]) -> int:
    """The verb; returns 1 when no model gets a warm-up request. Raises StartError, OSError."""
    options = _parser().parse_args(words)
    settings = Settings.from_environ(os.environ)
    models = {model.name: model for model in find_models(options.model_dir)}
    default = settings.default_model_name or min(models)
    found = sort(invocations(options.capture), models, default)
    written = 0
    for name, bodies in found.bodies.items():
        written += _write(models[name], bodies, batch_sizes(settings), options.limit)
    if found.skipped:
        _say(f"{found.skipped} requests skipped: not JSON to :predict for a model that is there")
    return 0 if written else 1


def sort(captured: Iterable[Invocation], models: Collection[str], default: str) -> Sorted:
    """Sort invocations by the model that they are for; each body once."""
    found: dict[str, dict[str, None]] = {}
    skipped = 0
    for invocation in captured:
        name = _model(invocation, default)
        text = _native(invocation)
        if name is None or name not in models or text is None:
            skipped += 1
        else:
            found.setdefault(name, {})[text] = None
    return Sorted({name: list(bodies) for name, bodies in found.items()}, skipped)


def batch_sizes(settings: Settings) -> list[int]:
    """The batches that the model server may run, as far as the settings say: none when it does not batch."""
    if not settings.enable_batching:
        return []
    return list(settings.allowed_batch_sizes or range(1, settings.max_batch_size + 1))


def _model(invocation: Invocation, default: str) -> str | None:
    """The name of the model that :predict was asked of; None for other methods and bad attributes."""
    try:
        asked = attributes.parse(invocation.custom_attributes)
    except HttpError:
        return None
    if asked.method != "predict":
        return None
    return invocation.target_model or asked.model_name or default


def _native(invocation: Invocation) -> str | None:
    """The body, if it may be TensorFlow Serving's own JSON: the model server has the last word."""
    request = invocation.request
    media_type = (request.content_type or JSON_TYPES[0]).partition(";")[0].strip().lower()
    if media_type != JSON_TYPES[0] or request.encoding is not None:
        return None
    try:
        return request.data.decode()
    except UnicodeDecodeError:
        return None


def _write(model: FoundModel, bodies: list[str], sizes: Sequence[int], limit: int) -> int:
    """Have the newest version's file written, tell the user; returns how many requests it has. Raises WarmupError."""
    directory = next(
        path
        for path in sorted(model.base_path.iterdir())
        if version_of(path.name) == model.versions[-1] and path.is_dir()
    )
    command = [sys.executable, "-m", "tfsd.model_server.write_warmup", f"--name={model.name}"]
    command += [f"--path={directory.absolute()}", f"--limit={limit}"]
    command += ["--batch-sizes", *map(str, sizes)] if sizes else []
    environ = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    lines = "".join(json.dumps(body) + "\n" for body in bodies)
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise WarmupError(f"{model.name}: the model server ended with status {done.returncode}") from None
    if "error" in told:
        raise WarmupError(f"{model.name}: {told['error']}")
    refused = f"; the model refuses {told['refused']}: {told['refusal']}" if told["refused"] else ""
    _say(f"{model.name}: {counted(told['written'], 'warm-up request')} in {directory}{refused}")
    return int(told["written"])


def _say(text: str) -> None:
    print(f"bin/local: {sentence(text)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/local warmup",
        description="Makes assets.extra/tf_serving_warmup_requests of the newest version of each model of captured "
        "requests. Settings are read as for serve: with batching there is a request of each batch size.",
    )
    parser.add_argument("capture", type=Path, help="a .jsonl file, or a directory with such files")
    parser.add_argument("model_dir", type=Path, help="the model directory, which is written to")
    parser.add_argument(
        "--limit",
        type=_limit,
        default=MAX_REQUESTS,
        help="requests for each model at the most (default: %(default)s)",
    )
    return parser


def _limit(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_REQUESTS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_REQUESTS}")
    return value
