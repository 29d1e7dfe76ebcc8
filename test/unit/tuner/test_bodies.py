"""Requests from files and signatures, and calls that hold several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfsd.capture_format import Body, Invocation, line
from tfsd.tuner import bodies
from tfsd.tuner.bodies import BodiesError
from tfsd.tuner.load import Request


def test_lines_are_requests(tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"instances": [1]}\n\n{"instances": [2]}\n')
    found = bodies.from_file(path)
    assert [request.body for request in found.requests] == [b'{"instances": [1]}', b'{"instances": [2]}']
    assert {request.content_type for request in found.requests} == {"application/json"}
    assert found.source == f"{path}, 2 lines, each a request of application/json"
    path = tmp_path / "rows.csv"
    path.write_text("1,2\n3,4\n")
    assert bodies.from_file(path).requests == (Request(b"1,2", "text/csv"), Request(b"3,4", "text/csv"))


def test_other_files_are_one_body(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG")
    assert bodies.from_file(path).requests == (Request(b"\x89PNG", "image/png"),)
    assert bodies.from_file(path, "application/x-image").requests[0].content_type == "application/x-image"
    document = tmp_path / "request.json"
    document.write_text('{\n"instances": [1]\n}')
    assert len(bodies.from_file(document).requests) == 1


@pytest.mark.parametrize("as_directory", [True, False], ids=["directory", "file"])
def test_captures_keep_types_and_attributes(tmp_path: Path, as_directory: bool) -> None:
    path = tmp_path / "hour.jsonl"
    captured = Invocation(Body(b"1,2", "text/csv"), custom_attributes="tfs-method=predict")
    path.write_text(line(captured, 0.0) + "\n")
    found = bodies.from_file(tmp_path if as_directory else path)
    assert found.requests == (Request(b"1,2", "text/csv", {bodies.ATTRIBUTES: "tfs-method=predict"}),)
    assert found.source.startswith("1 captured request of ")


def test_nothing_to_send(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    with pytest.raises(BodiesError, match="is empty"):
        bodies.from_file(path)
    with pytest.raises(BodiesError, match=r"no \.jsonl file"):
        bodies.from_file(_empty(tmp_path))
    with pytest.raises(BodiesError, match="no signature serving_default"):
        bodies.from_signature({"metadata": {}})


def _empty(directory: Path) -> Path:
    found = directory / "captures"
    found.mkdir()
    return found


def metadata(**inputs: Any) -> dict[str, Any]:
    return {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": inputs}}}}}


def tensor(dtype: str, *sizes: int) -> dict[str, Any]:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": str(size)} for size in sizes]}}


def test_signatures_make_a_request_and_say_what_was_assumed() -> None:
    found = bodies.from_signature(
        metadata(x=tensor("DT_FLOAT", -1, 2), n=tensor("DT_INT64", -1, -1), s=tensor("DT_STRING", -1))
    )
    assert json.loads(found.requests[0].body) == {"inputs": {"x": [[0.5, 0.5]], "n": [[0]], "s": [""]}}
    assert any("input n: unknown dimensions 1" in text for text in found.assumptions)
    assert any("input s: strings are empty" in text for text in found.assumptions)
    assert not any("input x" in text for text in found.assumptions)


@pytest.mark.parametrize(
    ("request_", "three"),
    [
        (Request(b'{"instances": [1, 2]}'), {"instances": [1, 2] * 3}),
        (
            Request(b'{"signature_name": "s", "inputs": {"a": [1], "b": [[2]]}}'),
            {"signature_name": "s", "inputs": {"a": [1, 1, 1], "b": [[2], [2], [2]]}},
        ),
        (Request(b'{"inputs": [[1]]}'), {"inputs": [[1], [1], [1]]}),
        (Request(b"[1, 2]"), {"instances": [1, 2] * 3}),
        (Request(b"1.5,2\n", "text/csv"), {"instances": [[1.5, 2.0]] * 3}),
        (Request(b"1\n2", "text/csv; charset=utf-8"), {"instances": [1.0, 2.0] * 3}),
        (Request(b'{"x": 1}\n{"x": 2}', "application/jsonlines"), {"instances": [{"x": 1}, {"x": 2}] * 3}),
    ],
)
def test_requests_together(request_: Request, three: dict[str, Any]) -> None:
    assert json.loads(bodies.together(request_, 3)) == three


@pytest.mark.parametrize(
    "request_",
    [Request(b"\x89PNG", "image/png"), Request(b"a,b", "text/csv"), Request(b'{"inputs": 1}'), Request(b"{")],
)
def test_requests_that_no_call_can_hold(request_: Request) -> None:
    with pytest.raises(ValueError, match=r"."):
        bodies.together(request_, 2)


def test_calls_are_made_of_requests_or_else_of_the_signature() -> None:
    good, image = Request(b'{"instances": [1]}'), Request(b"?", "image/png")
    made = bodies.from_signature(metadata(x=tensor("DT_FLOAT", -1)))
    assert bodies.bodies_of_calls([image, good], made) == [(good, "")]
    ((request, remark),) = bodies.bodies_of_calls([image], made)
    assert request == made.requests[0]
    assert "signature" in remark
    assert bodies.bodies_of_calls([image], None) == []


@pytest.mark.parametrize("body", [b"1,2\r3,4", b"1" * 200_000], ids=["carriage-return", "long-field"])
def test_what_is_no_csv_makes_no_call(body: bytes) -> None:
    good = Request(b'{"instances": [1]}')
    assert bodies.bodies_of_calls([Request(body, "text/csv"), good], None) == [(good, "")]


def test_a_model_of_one_string_is_called_with_the_body_as_that_string() -> None:
    made = bodies.from_signature(metadata(x=tensor("DT_STRING", -1)))
    (first, _), (last, _) = bodies.bodies_of_calls([Request(b"\x89PNG", "image/png")], made)
    assert json.loads(first.body) == {"instances": [{"b64": "iVBORw=="}]}
    assert last == made.requests[0]
