"""Whether two answers are equal, and what differs: JSON with a tolerance for numbers, else bytes."""

from __future__ import annotations

import difflib
import json
import math
from typing import Any

MAX_DIFF_LINES = 40
MAX_LINE_CHARACTERS = 200


def equal(expected: bytes, got: bytes, tolerance: float) -> bool:
    """Whether two bodies are equal: bytes, or JSON (also a document a line) whose numbers differ by no more than
    `tolerance` times the larger one."""
    if expected == got:
        return True
    try:
        return _close(_documents(expected), _documents(got), tolerance)
    except (ValueError, RecursionError):
        return False


def diff(expected: bytes, got: bytes) -> str:
    """The lines that differ, of JSON in an indented form; for what is no text the first byte that differs."""
    try:
        before, after = _lines(expected), _lines(got)
    except UnicodeDecodeError:
        pairs = enumerate(zip(expected, got, strict=False))
        at = next((at for at, (a, b) in pairs if a != b), min(len(expected), len(got)))
        return f"{len(expected)} bytes were captured, {len(got)} came; they differ from byte {at} on"
    lines = list(difflib.unified_diff(before, after, "captured", "answered", n=2, lineterm=""))
    shown = [
        line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + " …" for line in lines
    ]
    more = len(shown) - MAX_DIFF_LINES
    return "\n".join(shown[:MAX_DIFF_LINES] + ([f"… {more} lines more"] if more > 0 else []))


def _documents(body: bytes) -> list[Any]:
    """The JSON documents of a body: one, or one a line. Raises ValueError."""
    try:
        return [json.loads(body)]
    except ValueError:
        return [json.loads(line) for line in body.splitlines() if line.strip()]


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if _is_number(a) and _is_number(b):
        return _close_numbers(a, b, tolerance)
    return type(a) is type(b) and bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _close_numbers(a: float, b: float, tolerance: float) -> bool:
    if a == b or (a != a and b != b):  # the model server writes NaN
        return True
    try:
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=0.0)
    except OverflowError:  # whole numbers beyond floats
        return False


def _lines(body: bytes) -> list[str]:
    """A body for people. Raises UnicodeDecodeError."""
    try:
        return [line for document in _documents(body) for line in json.dumps(document, indent=1).splitlines()]
    except (ValueError, RecursionError):
        return body.decode().splitlines()
