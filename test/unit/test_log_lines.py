"""The log lines of the processes that are ours, held against the page that explains them, in both directions.

What changes within a line is a placeholder in the code, and a word in capitals or `…` on the page.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "log-lines.md"
ENDPOINT = (
    "start",
    "control",
    "worker",
    "capture_files.py",
)  # a model server writes TensorFlow Serving's lines
OURS = (*ENDPOINT, "local", "sagemaker")
ALARMING = ("warning", "error", "exception")
LEVELS = (*ALARMING, "info")
PLACEHOLDER = re.compile(r"%[.\d]*[a-z]")
CHANGES = re.compile(r"\b[A-Z]{2,}\b|\b[B-Z]\b|…")  # a word in capitals, a letter such as N, anything
STANDS_FOR = "0"  # what a placeholder of the code becomes; no text has one


def nodes(rooms: tuple[str, ...]) -> Iterator[ast.AST]:
    """The syntax of all modules of the rooms; a module that stands alone is one."""
    return itertools.chain.from_iterable(map(nodes_of, rooms))


@functools.cache
def nodes_of(room: str) -> tuple[ast.AST, ...]:
    found = ROOT / "daemon" / "tfsd" / room
    paths = sorted(found.rglob("*.py")) if found.is_dir() else [found]
    return tuple(node for path in paths for node in ast.walk(ast.parse(path.read_text())))


def template(node: ast.AST) -> str | None:
    """A text of the code with STANDS_FOR for what is filled in, or None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return PLACEHOLDER.sub(STANDS_FOR, node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else STANDS_FOR for part in node.values)
        return "".join(map(str, parts))
    return None


def logged(levels: tuple[str, ...], rooms: tuple[str, ...]) -> list[str]:
    """The texts that are handed to `log.LEVEL`, but for those that only pass on what another said."""
    found = (
        template(node.args[0])
        for node in nodes(rooms)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in levels
        if ast.unparse(node.func.value) == "log"
    )
    return [text for text in found if text is not None and re.search(r"[a-z]", text)]


@functools.cache
def texts() -> frozenset[str]:
    """Every text of the code: a line may be put together elsewhere than where it is logged."""
    return frozenset(text for node in nodes(ENDPOINT) if (text := template(node)) is not None)


@functools.cache
def pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, CHANGES.split(line))), re.DOTALL)


def is_line(line: str, text: str) -> bool:
    """Whether this text of the code may be that line of the page."""
    return all(part in text for part in CHANGES.split(line)) and bool(pattern(line).fullmatch(text))


def lines_of_the_page() -> list[str]:
    """What stands in code in the first column, but for nginx's format and what only begins with the program's name."""
    cells = [row.split("|")[1] for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    return [line for cell in cells for line in re.findall(r"`([^`]+)`", cell) if line != "serve: …"]


@pytest.mark.parametrize("line", lines_of_the_page())
def test_each_line_of_the_page_is_in_the_code(line: str) -> None:
    assert any(is_line(line, text) for text in texts())


def test_each_warning_and_error_of_the_code_is_on_the_page() -> None:
    known = lines_of_the_page()
    lines = logged(ALARMING, ENDPOINT)
    assert len(lines) > 30
    assert [text for text in lines if not any(is_line(line, text) for line in known)] == []


def test_each_line_is_a_sentence() -> None:
    """It begins with a capital or with what is filled in, such as a program's name, and comes to an end."""
    lines = logged(LEVELS, OURS)
    assert [text for text in lines if not re.match(rf"[A-Z/{STANDS_FOR}]", text)] == []
    assert [text for text in lines if not text.endswith((".", STANDS_FOR))] == []
