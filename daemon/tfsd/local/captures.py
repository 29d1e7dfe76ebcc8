"""Reading what `SAGEMAKER_TFS_CAPTURE_DIR` or SageMaker's data capture has written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfsd.capture_format import BadCapture, Invocation, read
from tfsd.errors import StartError


class CaptureError(StartError):
    """A capture cannot be read; the text says where and why."""


def invocations(capture: Path) -> Iterator[Invocation]:
    """The invocations of a file, or of all `.jsonl` files below a directory in the order of their names.

    Raises CaptureError, OSError.
    """
    files = sorted(capture.rglob("*.jsonl")) if capture.is_dir() else [capture]
    if not files:
        raise CaptureError(f"{capture} has no .jsonl file")
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield read(line)
                except BadCapture as error:
                    raise CaptureError(f"{file}, line {number}: {error}") from None
