"""Every content type through the converter to real models and back (hosting contract, section 9)."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy
import pytest
import requests

from support.stack import RunningStack

TWO = "tfs-model-name=half_plus_two,tfs-model-version=123"  # x / 2 + 2
MATRIX = "tfs-model-name=matrix"  # three numbers to their sum, and to themselves times ten
MULTI = "tfs-model-name=multi"  # a, b to their sum and product
STRING = "tfs-model-name=string"  # to upper case
MATRIX_ANSWER = {
    "predictions": [
        {"sum": 6.0, "scaled": [10.0, 20.0, 30.0]},
        {"sum": 15.0, "scaled": [40.0, 50.0, 60.0]},
    ]
}
MULTI_ANSWER = {"predictions": [{"sum": 3.0, "product": 2.0}, {"sum": 7.0, "product": 12.0}]}


@pytest.mark.parametrize(
    ("attributes", "content_type", "body", "predictions"),
    [
        (TWO, "application/json", '{"instances": [1.0, 2.0]}', [2.5, 3.0]),
        (TWO, "application/json", ' {"signature_name":"serving_default","instances":[1.0]}\n', [2.5]),
        (TWO, "application/json", '{"instances": [{"x": 1.0}]}', [2.5]),
        (TWO, "application/json", "1.0", [2.5]),
        (TWO, "application/json", "[1.0, 2.0]", [[2.5, 3.0]]),
        (TWO, "application/json", "[[1.0], [2.0]]", [[2.5], [3.0]]),
        (TWO, "application/json", '{"x": 1.0}', [2.5]),
        (TWO, "application/json", '[{"x": 1.0}, {"x": 2.0}]', [2.5, 3.0]),
        (TWO, "application/json", '{"x": 1.0}\n{"x": 2.0}', [2.5, 3.0]),
        (TWO, "application/json", '{\n "x": 1.0\n}\n{\n "x": 2.0\n}\n', [2.5, 3.0]),
        (TWO, "application/json; charset=utf-8", "1\n2\n", [2.5, 3.0]),
        (TWO, "APPLICATION/JSON", '{"instances": [1.0]}', [2.5]),
        (TWO, "application/jsonlines", '{"x": 1.0}\n{"x": 2.0}\n', [2.5, 3.0]),
        (TWO, "application/jsonlines", "1\r\n\r\n2\r\n", [2.5, 3.0]),
        (TWO, "application/jsons", '{"x": 1.0}{"x": 2.0}', [2.5, 3.0]),
        (TWO, "application/x-ndjson", "1\n2\n", [2.5, 3.0]),
        (TWO, "text/csv", "1.0\n2.0\n", [2.5, 3.0]),
        (TWO, "text/csv", "\ufeff1\r\n+.5\r\n\r\n1e2", [2.5, 2.25, 52.0]),
        (TWO, "Text/CSV ; Header=Absent", "1\r2\r", [2.5, 3.0]),
        (TWO, "text/csv; header=present", "x\n1.0\n2.0\n", [2.5, 3.0]),
        (STRING, "text/csv", 'a\n"b, ""c"""\n"d\ne"\n', ["A", 'B, "C"', "D\nE"]),
        (STRING, "text/csv", '"1"\n"2"\n', ["1", "2"]),
        (STRING, "text/csv", "C:\\tmp\nEiffel\tTower\n", ["C:\\TMP", "EIFFEL\tTOWER"]),
        (STRING, "application/jsonlines", '"a} {b"\n"see [1] [2]"\n', ["A} {B", "SEE [1] [2]"]),
        (STRING, "application/json", '{"s": "{\\"instances\\": [1]}"}', ['{"INSTANCES": [1]}']),
        (STRING, "application/json", '["ü", "日本"]', [["Ü", "日本"]]),
    ],
)
def test_content_types(
    plain_stack: RunningStack, attributes: str, content_type: str, body: str, predictions: list[Any]
) -> None:
    answer = plain_stack.invoke(body, content_type, attributes=attributes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"predictions": predictions}


@pytest.mark.parametrize(
    ("attributes", "content_type", "body", "document"),
    [
        (MATRIX, "text/csv", "1,2,3\n4,5,6\n", MATRIX_ANSWER),
        (MATRIX, "application/jsonlines", "[1,2,3]\n[4,5,6]\n", MATRIX_ANSWER),
        (MATRIX, "application/json", "[[1,2,3],[4,5,6]]", MATRIX_ANSWER),
        (MULTI, "text/csv;header=present", "a,b\n1,2\n3,4\n", MULTI_ANSWER),
        (MULTI, "application/json", '[{"a": 1, "b": 2}, {"a": 3, "b": 4}]', MULTI_ANSWER),
        (
            MULTI,
            "application/json",
            '{"inputs": {"a": [1, 3], "b": [2, 4]}}',
            {"outputs": {"sum": [3.0, 7.0], "product": [2.0, 12.0]}},
        ),
    ],
)
def test_rows_and_columns(
    plain_stack: RunningStack, attributes: str, content_type: str, body: str, document: object
) -> None:
    answer = plain_stack.invoke(body, content_type, attributes=attributes)
    assert (answer.status_code, answer.json()) == (200, document)


def test_numbers_that_are_none(plain_stack: RunningStack) -> None:
    answer = plain_stack.invoke("NaN\ninf\n-Infinity\n", "text/csv", attributes=TWO)
    assert str(answer.json()["predictions"]) == "[nan, inf, -inf]"


@pytest.mark.parametrize(
    ("content_type", "body", "word"),
    [
        ("application/json; charset=utf-16", '"ü"'.encode("utf-16"), "Ü"),
        ("application/json", '"ü"'.encode("utf-16"), "Ü"),
        ("text/csv; charset=iso-8859-1", "ü".encode("latin-1"), "Ü"),
        ('text/csv; charset="windows-1252"', "€ü".encode("cp1252"), "€Ü"),
        ("text/csv; charset=utf-16", "ü".encode("utf-16"), "Ü"),
    ],
)
def test_charsets(plain_stack: RunningStack, content_type: str, body: bytes, word: str) -> None:
    answer = plain_stack.invoke(body, content_type, attributes=STRING)
    assert answer.json() == {"predictions": [word]}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"1.0\n2.0\n", "text/csv"), (b'{"instances": [1.0, 2.0]}', "application/json")],
)
def test_gzip(plain_stack: RunningStack, body: bytes, content_type: str) -> None:
    answer = plain_stack.invoke(gzip.compress(body), content_type, attributes=TWO, Content_Encoding="gzip")
    assert answer.json() == {"predictions": [2.5, 3.0]}


def test_no_content_type_is_json(plain_stack: RunningStack) -> None:
    answer = requests.post(plain_stack.url("/invocations"), data=b'{"x": 1.0}', timeout=10)
    assert "Content-Type" not in answer.request.headers
    assert answer.json() == {"predictions": [3.5]}


@pytest.mark.parametrize(
    ("content_type", "body", "status", "told"),
    [
        ("text/csv", "1,2,3\n4,5\n", 400, "Line 2"),
        ("text/csv", "1,2,3\n4,,6\n", 400, "Line 2"),
        ("text/csv", b"1,2,3\n4,\xff,6\n", 400, "Line 2"),
        ("text/csv", "", 400, "no row"),
        ("text/csv; header=maybe", "1,2,3\n", 400, "present or absent"),
        ("application/jsonlines", '{"a": 1}\n{"a" 2}\n', 400, "Line 2"),
        ("application/json", "", 400, "empty"),
        ("application/json; charset=utf-99", "1", 415, "utf-99"),
        ("image/png", b"\x89PNG", 415, "text/csv"),
        ("application/x-www-form-urlencoded", "a=b", 415, "application/jsonlines"),
    ],
)
def test_bodies_that_cannot_be_converted(
    plain_stack: RunningStack, content_type: str, body: str | bytes, status: int, told: str
) -> None:
    answer = plain_stack.invoke(body, content_type, attributes=MATRIX)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "told"),
    [("br", b"x", 415, "gzip"), ("gzip", b"1.0", 400, "not valid gzip")],
)
def test_encodings_that_cannot_be_undone(
    plain_stack: RunningStack, encoding: str, body: bytes, status: int, told: str
) -> None:
    answer = plain_stack.invoke(body, "text/csv", Content_Encoding=encoding)
    assert (answer.status_code, told in answer.json()["error"]) == (status, True)


TABLE = "10.0,20.0,30.0,6.0\n40.0,50.0,60.0,15.0\n"


@pytest.mark.parametrize(
    ("accept", "content_type", "text"),
    [
        ("application/json", "application/json", None),
        ("*/*", "application/json", None),
        ("image/png", "application/json", None),
        ("image/png, */*;q=0.1", "application/json", None),
        ("application/jsonlines", "application/jsonlines", None),
        ("application/x-ndjson", "application/x-ndjson", None),
        ("text/csv", "text/csv", TABLE),
        ("text/csv, application/json", "text/csv", TABLE),
        ("application/json;q=0.2, text/csv;q=0.9", "text/csv", TABLE),
        ("text/csv;q=0, application/json", "application/json", None),
        ("text/*", "text/csv", TABLE),
    ],
)
@pytest.mark.parametrize(
    ("body", "request_type"),
    [("1,2,3\n4,5,6\n", "text/csv"), ('{"instances": [[1,2,3],[4,5,6]]}', "application/json")],
)
def test_accept(
    plain_stack: RunningStack, accept: str, content_type: str, text: str | None, body: str, request_type: str
) -> None:
    answer = plain_stack.invoke(body, request_type, attributes=MATRIX, Accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    if content_type == "text/csv":
        assert answer.text == text
    elif content_type == "application/x-ndjson":
        assert [json.loads(line) for line in answer.text.splitlines()] == MATRIX_ANSWER["predictions"]
    else:
        assert answer.json() == MATRIX_ANSWER
        assert content_type == "application/json" or answer.text.strip().count("\n") == 0


def test_an_error_is_json_whatever_is_accepted(plain_stack: RunningStack) -> None:
    for body in ("a\n", "1,2\n3\n"):
        answer = plain_stack.invoke(body, "text/csv", Accept="text/csv")
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json")
        assert answer.json()["error"]


def test_ten_megabytes_of_csv(plain_stack: RunningStack) -> None:
    numbers = [index / 8 + 100_000 for index in range(1_000_000)]
    body = "".join(f"{x}\n" for x in numbers)
    assert len(body) > 10_000_000
    answer = plain_stack.invoke(body, "text/csv", attributes=TWO)
    assert answer.status_code == 200
    wanted = numpy.array(numbers, "float32") / 2 + 2
    assert numpy.array_equal(numpy.array(answer.json()["predictions"], "float32"), wanted)
