"""Libraries are prepared when they are imported, and not before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfsd.worker.upstream.imports import when_imported

NAME = "a_library_of_the_test"


@pytest.fixture(autouse=True)
def _library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{NAME}.py").write_text("function = 'original'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    yield
    sys.modules.pop(NAME, None)


def replace_function() -> None:
    vars(sys.modules[NAME])["function"] = "ours"


def test_it_is_prepared_before_the_import_returns() -> None:
    when_imported(NAME, replace_function)
    assert NAME not in sys.modules

    assert importlib.import_module(NAME).function == "ours"


def test_what_is_imported_already_is_prepared_at_once() -> None:
    module = importlib.import_module(NAME)
    assert module.function == "original"

    when_imported(NAME, replace_function)

    assert module.function == "ours"


def test_the_module_can_be_asked_about_its_source() -> None:
    when_imported(NAME, replace_function)

    spec = importlib.import_module(NAME).__spec__

    assert spec is not None
    assert spec.loader.get_source(NAME) == "function = 'original'\n"  # type: ignore[union-attr]


def test_what_is_not_installed_stays_so() -> None:
    when_imported("no_such_library", replace_function)

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_library")
