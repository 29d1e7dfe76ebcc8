from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tfsd.worker.script import ScriptError, choose, load


def function(*_: Any) -> None:
    pass


def module(names: list[str], value: object = function) -> ModuleType:
    """A module with `value` under each of these names."""
    made = ModuleType("made")
    vars(made).update(dict.fromkeys(names, value))
    return made


@pytest.fixture(autouse=True)
def _import_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("names", "style", "used"),
    [
        (["handler"], "handler", 1),
        (["input_handler", "output_handler"], "handlers", 2),
        (["handler", "input_handler", "output_handler"], "handler", 1),
        (["handler", "input_handler"], "handler", 1),
    ],
)
def test_styles(names: list[Any], style: str, used: int) -> None:
    script = choose(module(names), "inference.py")
    assert (script.style, len(script.functions)) == (style, used)


@pytest.mark.parametrize("names", [["input_fn"], ["output_fn"], ["transform_fn"], ["input_fn", "output_fn"]])
def test_legacy_functions_in_their_order(names: list[Any]) -> None:
    script = choose(module(names), "inference.py")
    assert script.style == "legacy"
    wanted = ("input_fn", "output_fn", "transform_fn")
    assert script.functions == tuple(function if name in names else None for name in wanted)


@pytest.mark.parametrize(
    "names", [["estimator_fn", "train_input_fn"], ["keras_model_fn"], ["model_fn", "serving_input_fn"]]
)
def test_a_training_script_is_served_with_the_defaults(names: list[Any]) -> None:
    script = choose(module(names), "train.py")
    assert (script.style, script.functions) == ("legacy", (None, None, None))
    both = choose(module([*names, "output_fn"]), "train.py")
    assert both.functions == (None, function, None)
    assert choose(module([*names, "handler"]), "train.py").style == "handler"


def test_input_comes_first() -> None:
    script = ModuleType("inference")
    vars(script).update(output_handler=print, input_handler=len)
    assert choose(script, "inference.py").functions == (len, print)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["input_handler"], ["`input_handler`", "without `output_handler`"]),
        (["output_handler"], ["`output_handler`", "without `input_handler`"]),
        ([], ["`handler(data, context)`", "`input_handler(data, context)`", "`output_handler("]),
        (["handler", "input_fn"], ["`handler`", "`input_fn`"]),
        (["input_handler", "output_handler", "transform_fn"], ["`input_handler`", "`transform_fn`"]),
    ],
)
def test_refused(names: list[Any], said: list[Any]) -> None:
    with pytest.raises(ScriptError) as raised:
        choose(module(names), "serve.py")
    assert all(text in str(raised.value) for text in ["serve.py", *said])


def test_a_name_that_is_no_function() -> None:
    with pytest.raises(ScriptError, match="`handler` is not a function"):
        choose(module(["handler"], {}), "inference.py")


def test_python_path_comes_first(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tfsd_test_helper.py").write_text("WHERE = 'lib'")
    (tmp_path / "tfsd_test_helper.py").write_text("WHERE = 'source'")
    script = tmp_path / "tfsd_test_script.py"
    script.write_text("import tfsd_test_helper\ndef handler(data, context): return tfsd_test_helper.WHERE")
    loaded = load(script, [str(tmp_path / "lib"), str(tmp_path)])
    assert loaded.functions[0](None, None) == "lib"
    assert sys.path[:2] == [str(tmp_path / "lib"), str(tmp_path)]


def test_a_script_may_be_called_like_a_library(tmp_path: Path) -> None:
    import json

    script = tmp_path / "json.py"
    script.write_text("def handler(data, context): return 'mine'")
    assert load(script, []).functions[0](None, None) == "mine"
    assert sys.modules["json"] is json


def test_a_script_is_found_under_its_name(tmp_path: Path) -> None:
    """Pickles and dataclasses look their module up."""
    script = tmp_path / "tfsd_test_script.py"
    script.write_text(
        "import dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass Point:\n    x: 'int'\n"
        "def handler(data, context): return pickle.loads(pickle.dumps(Point(1))).x"
    )
    assert load(script, []).functions[0](None, None) == 1


def test_a_script_that_fails_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "tfsd_test_script.py"
    script.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load(script, [])
    assert "tfsd_test_script" not in sys.modules


def test_not_a_python_file(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"must end in \.py"):
        load(tmp_path / "inference.txt", [])
