"""Templates that are kept compiled: used while they fit, and never needed."""

from __future__ import annotations

import sys
from pathlib import Path

import jinja2
import pytest

from tfsd.stack.compiled_templates import CompiledTemplates

TAG = sys.implementation.cache_tag


@pytest.fixture(autouse=True)
def may_write_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def rendered(directory: Path, **options: bool) -> str:
    """The template `t`, by an environment that has compiled nothing yet."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        bytecode_cache=CompiledTemplates(directory, options),
        trim_blocks=options.get("trim_blocks", False),
    )
    return environment.get_template("t").render(x=7)


def compiled(directory: Path) -> bytes:
    [file] = (directory / "__pycache__").iterdir()
    assert file.name == f"t.{TAG}"
    return file.read_bytes()


def test_a_template_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text("{{ x }}")
    assert rendered(tmp_path) == "7"
    before = compiled(tmp_path)
    monkeypatch.delattr(jinja2.Environment, "_generate")  # what compiles
    assert rendered(tmp_path) == "7"
    assert compiled(tmp_path) == before


def test_another_source_or_other_options_are_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{% if x %}\n{{ x }}{% endif %}")
    assert rendered(tmp_path) == "\n7"
    assert rendered(tmp_path, trim_blocks=True) == "7"
    (tmp_path / "t").write_text("{{ x + 1 }}")
    assert rendered(tmp_path, trim_blocks=True) == "8"


@pytest.mark.parametrize("content", [b"", b"junk", None], ids=["empty", "junk", "cut"])
def test_what_is_damaged_is_compiled_anew(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "t").write_text("{{ x }}")
    rendered(tmp_path)
    whole = compiled(tmp_path)
    (tmp_path / "__pycache__" / f"t.{TAG}").write_bytes(whole[:-20] if content is None else content)
    assert rendered(tmp_path) == "7"
    assert compiled(tmp_path) == whole


def test_nothing_is_kept_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text("{{ x }}")
    (tmp_path / "__pycache__").touch()  # whoever runs the tests, not even root can write below
    assert rendered(tmp_path) == "7"
    (tmp_path / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(tmp_path) == "7"
    assert not (tmp_path / "__pycache__").exists()
