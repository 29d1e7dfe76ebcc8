"""What is read from the notes about ended processes, with the recorded words of tensorflow_model_server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfsd.control.ends import End, end_of
from tfsd.run_dir import RunDir

RECORDINGS = Path(__file__).parents[2] / "resources" / "model_server" / "startup.jsonl"


def recorded(name: str) -> End:
    for line in RECORDINGS.read_text().splitlines():
        case = json.loads(line)
        if case["name"] == name:
            return End(1, case["exit_code"], case["output_tail"])
    raise AssertionError(f"no recording {name}")


@pytest.mark.parametrize(("name", "model"), [("bad_model", "m"), ("config_one_bad_model", "b")])
def test_unloadable_versions_of_recorded_ends(name: str, model: str) -> None:
    end = recorded(name)
    [(version, reason)] = end.unloadable(model).items()
    assert version == 1
    assert reason.startswith("DATA_LOSS: Can't parse")
    assert end.unloadable("another") == {}
    assert end.described().startswith("ended with status 255: version 1: DATA_LOSS")


def test_several_versions_and_errors_of_several_lines() -> None:
    said = (
        "I noise\nFailed to start server. Error: UNKNOWN: 2 servable(s) did not become available: "
        "{{{name: m {x} version: 3} due to error: INVALID_ARGUMENT: a\n\t [[{{node x}}]]}, "
        "{{name: m {x} version: 4} due to error: NOT_FOUND: b}, }\n"
    )
    expected = {3: "INVALID_ARGUMENT: a [[{{node x}}]]", 4: "NOT_FOUND: b"}
    assert End(1, 255, said).unloadable("m {x}") == expected
    assert End(1, -9, said).unloadable("m {x}") == {}


def test_all_versions_that_failed_are_found_though_the_last_words_name_one() -> None:
    said = (
        "E retrier.cc:40] Loading servable: {name: m version: 3} failed: NOT_FOUND: three\n"
        "E Loading servable: {name: m version: 4} failed: INTERNAL: four (giving up)\n"
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: m version: 4} due to error: INTERNAL: four}, }\n"
    )
    assert End(1, 255, said).unloadable("m") == {3: "NOT_FOUND: three", 4: "INTERNAL: four"}
    assert End(1, 255, said.partition("Failed to")[0]).unloadable("m") == {}


def test_another_refusal_to_start_is_told_in_its_own_words() -> None:
    end = End(1, 255, "Failed to start server. Error: INVALID_ARGUMENT: no such flag\n")
    assert end.described() == "ended with status 255: INVALID_ARGUMENT: no such flag"
    assert End(1, 1).described() == "ended with status 1: the container's log says why"
    assert End(1, -9).described() == "was ended by SIGKILL"


@pytest.mark.parametrize("text", ["", "{", "3", "[]", "{}", '{"pid": 1, "code": "x", "said": ""}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ends").mkdir()
    (tmp_path / "ends" / "p").write_text(text)
    assert end_of(RunDir(tmp_path), "p") is None
    assert end_of(RunDir(tmp_path), "q") is None
