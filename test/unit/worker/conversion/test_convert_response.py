"""What a client gets for a model server's answer, by its Accept header."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfsd.worker.conversion import convert, csv_instances, predictions
from tfsd.worker.conversion.accept import NotAcceptable

JSON, LINES, NDJSON, CSV = "application/json", "application/jsonlines", "application/x-ndjson", "text/csv"
ROWS = '{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'
CLASSES = '{\n    "results": [[["cat", 2.5], ["müs \\"x\\"", NaN]], [["", 3.0], ["1", -Infinity]]\n    ]\n}'
NAMED = '{"predictions": [{"b": [0.333333343, 2], "a": "x,y"}, {"b": [1e-07, 3], "a": "ok"}]}'
COLUMNS = '{"outputs": {"b": [[1, 2], [3, 4]], "a": [true, false]}}'


def converted(answer: str | bytes, accept: str) -> tuple[str, str]:
    body = answer.encode() if isinstance(answer, str) else answer
    out, content_type = convert.convert_response(body, accept, JSON)
    return out.decode(errors="surrogateescape"), content_type


@pytest.mark.parametrize(
    ("answer", "accept", "expected"),
    [
        (ROWS, JSON, ROWS),
        (ROWS, LINES, '{"predictions": [3.5, 4.0, 5.5]}'),
        (ROWS, "application/jsons", '{"predictions": [3.5, 4.0, 5.5]}'),
        ('{\n  "predictions": ["a\\n  b"\n]\n}', LINES, '{"predictions": ["a\\n  b"]}'),
        (ROWS, NDJSON, "3.5\n4.0\n5.5\n"),
        (ROWS, CSV, "3.5\n4.0\n5.5\n"),
        ('{"predictions": [[0.10, NaN], [-Infinity, 1e-07]]}', NDJSON, "[0.10,NaN]\n[-Infinity,1e-07]\n"),
        ('{"predictions": [[0.10, NaN], [-Infinity, 1e-07]]}', CSV, "0.10,NaN\n-Infinity,1e-07\n"),
        ('{"predictions": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}', NDJSON, "[[1,2],[3,4]]\n[[5,6],[7,8]]\n"),
        ('{"predictions": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}', CSV, "1,2,3,4\n5,6,7,8\n"),
        ('{"predictions": [[1], [2]]}', CSV, "1\n2\n"),
        ('{"predictions": [[[]], [[]]]}', CSV, "\n\n"),
        ('{"predictions": [1, [2, 3]]}', CSV, "1\n2,3\n"),
        ('{"predictions": [[1], [[2, 3], 4]]}', NDJSON, "[1]\n[[2,3],4]\n"),
        ('{"predictions": []}', NDJSON, ""),
        ('{"predictions": []}', CSV, ""),
        (NAMED, NDJSON, '{"b":[0.333333343,2],"a":"x,y"}\n{"b":[1e-7,3],"a":"ok"}\n'),
        (NAMED, CSV, '"x,y",0.333333343,2\nok,1e-07,3\n'),
        (
            '{"predictions": ["1", "a", "", "nan", "a b ", "q\\"", "l\\n"]}',
            CSV,
            '"1"\na\n""\n"nan"\na b \n"q"""\n"l\n"\n',
        ),
        ('{"predictions": [{"b64": "aGk="}, {"b64": "aG8="}]}', CSV, "aGk=\naG8=\n"),
        ('{"predictions": [true, false]}', CSV, "true\nfalse\n"),
        (CLASSES, NDJSON, '[["cat",2.5],["müs \\"x\\"",NaN]]\n[["",3.0],["1",-Infinity]]\n'),
        (CLASSES, CSV, 'cat,2.5,"müs ""x""",NaN\n"",3.0,"1",-Infinity\n'),
        ('{\n    "results": [2.5, NaN]\n}', CSV, "2.5\nNaN\n"),
        (COLUMNS, NDJSON, '{"b":[1,2],"a":true}\n{"b":[3,4],"a":false}\n'),
        (COLUMNS, CSV, "true,1,2\nfalse,3,4\n"),
        ('{"outputs": [[1, 2], [3, 4]]}', CSV, "1,2\n3,4\n"),
        ('{"outputs": ["a"]}', NDJSON, '"a"\n'),
        ('{"predictions": [12345678901234567890123]}', NDJSON, "12345678901234567890123\n"),
        ('{"predictions": [{"i": 12345678901234567890123}]}', NDJSON, '{"i":12345678901234567890123}\n'),
    ],
)
def test_answer(answer: str, accept: str, expected: str) -> None:
    assert converted(answer, accept) == (expected, accept)


@pytest.mark.parametrize("accept", [NDJSON, CSV])
@pytest.mark.parametrize(
    "answer",
    [
        '{"outputs": 5.0}',
        '{"outputs": {"a": [1, 2], "b": [1]}}',
        '{"outputs": {"a": [1, 2], "b": 3}}',
        '{"outputs": {}}',
        '{"predictions": 1}',
        '{"something": "else"}',
        "[1, 2]",
        "not json",
        "[" * 100_000,
        "",
    ],
)
def test_what_has_no_rows_stays_json_and_says_so(answer: str, accept: str) -> None:
    assert converted(answer, accept) == (answer, JSON)


@pytest.mark.parametrize("accept", [NDJSON, CSV])
def test_strings_that_are_not_utf8_keep_their_bytes(accept: str) -> None:
    body, _ = convert.convert_response(b'{"predictions": ["\xff\xfe", "\xed\xb8\x80"]}', accept, JSON)
    assert body.replace(b'"', b"") == b"\xff\xfe\n\xed\xb8\x80\n"


NUMBERS = st.one_of(st.integers(), st.floats())
SHAPES = st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(lambda shape: shape[0] > 0)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    def fill(shape: list[int]) -> Any:
        return [fill(shape[1:]) for _ in range(shape[0])] if shape else draw(NUMBERS)

    return fill(draw(SHAPES))


def numbers_of(lines: bytes | None) -> list[str] | None:
    """What the lines say, whatever the decimal form: 1e-07 is 1e-7. Compared as text, since NaN equals nothing."""
    if lines is None:
        return None
    texts = lines.decode().split("\n")
    return [repr(json.loads(f"[{text}]")) for text in texts]


@given(st.one_of(tensors(), st.lists(st.recursive(NUMBERS, lambda x: st.lists(x, max_size=3), max_leaves=6))))
@example([[[0], 0], [[0]]])
def test_the_quick_way_for_numbers_says_the_same_as_the_long_one(tensor: list[Any]) -> None:
    answer = json.dumps({"predictions": tensor}, indent=1).encode()
    long_lines = predictions._write(answer, predictions._json)
    long_csv = predictions._write(answer, lambda p: ",".join(predictions._fields(p)))
    assert numbers_of(predictions.to_json_lines(answer)) == numbers_of(long_lines)
    assert numbers_of(predictions.to_csv(answer)) == numbers_of(long_csv)


def test_equally_shaped_numbers_do_take_the_quick_way() -> None:
    for tensor in ([1.5, math.nan], [[1, 2], [-3, 4e-9]], [[[1], [2]], [[3], [4]]]):
        assert predictions._numeric_tensor(json.dumps({"predictions": tensor}, indent=2).encode())


CELLS = st.one_of(NUMBERS.filter(math.isfinite), st.text(alphabet='",\r\n 1aé\\', max_size=5))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_csv_is_read_back_as_it_was(rows: list[list[Any]]) -> None:
    answer = json.dumps({"predictions": rows}).encode()
    written, _ = convert.convert_response(answer, CSV, JSON)
    assert json.loads(csv_instances.to_instances(written, header=False))["instances"] == rows


@given(st.lists(st.recursive(CELLS, lambda x: st.dictionaries(st.text(), x, max_size=3)), max_size=5))
def test_one_json_value_a_line(values: list[Any]) -> None:
    written, _ = convert.convert_response(json.dumps({"predictions": values}).encode(), NDJSON, JSON)
    assert [json.loads(line) for line in written.split(b"\n")[:-1]] == values


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"predictions": [3.5, 4.0]}', "prediction\n3.5\n4.0\n"),
        (b'{"predictions": [[1, 2], [3, 4]]}', "prediction_0,prediction_1\n1,2\n3,4\n"),
        (b'{"predictions": [[[1], [2]]]}', "prediction_0_0,prediction_1_0\n1,2\n"),
        (b'{"predictions": [{"b": [1, 2], "a": "x"}]}', "a,b_0,b_1\nx,1,2\n"),
        (b'{"outputs": {"y": [1, 2], "x": [NaN, 4]}}', "x,y\nNaN,1\n4,2\n"),
        (b'{"predictions": [{"a,b": 1}]}', '"a,b"\n1\n'),
        (b'{"predictions": []}', ""),
    ],
)
@pytest.mark.parametrize("accept", ["text/csv; header=present", "image/png, text/csv;HEADER=Present;q=0.5"])
def test_csv_with_a_header(answer: bytes, expected: str, accept: str) -> None:
    written, content_type = convert.convert_response(answer, accept, JSON)
    assert written.decode() == expected
    assert content_type == ("text/csv; header=present" if expected else CSV)


def test_a_form_that_there_is_not() -> None:
    answer = b'{"outputs": {"a": 1, "b": [1, 2]}}'
    assert convert.convert_response(answer, CSV, JSON) == (answer, JSON)
    with pytest.raises(NotAcceptable):
        convert.convert_response(answer, CSV, JSON, strict=True)


def test_an_error_about_several_inputs_speaks_of_csv_to_whom_sent_csv() -> None:
    error = b'{"error": "instances is a plain list, but expecting multiple input tensors required"}'
    assert "header=present" in convert.error_text(error, "text/csv")
    assert convert.error_text(error, JSON) == error.decode()
    assert convert.error_text(b'{"error": "other"}', "text/csv") == '{"error": "other"}'
