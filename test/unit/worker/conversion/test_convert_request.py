"""Every request row of the hosting contract, section 9, as a client would send it."""

import gzip
import json
import math
from typing import Any

import pytest

from tfsd.errors import BadRequest, HttpError, UnsupportedMediaType
from tfsd.worker.conversion import content_encoding
from tfsd.worker.conversion.convert import convert_request, reader_of

JSON_TYPES = ["application/json", "application/jsonlines", "application/jsons", "application/x-ndjson"]


def convert(
    body: bytes | str, content_type: str | None = "application/json", encoding: str | None = None
) -> bytes:
    """The model server's REST body for `body`."""
    reader_of(content_type)
    data = body.encode() if isinstance(body, str) else body
    return convert_request(content_encoding.decode(data, encoding, 10**6), content_type)


def instances(body: bytes | str, content_type: str | None = "application/json") -> Any:
    """The instances that the model server is sent for `body`."""
    document = json.loads(convert(body, content_type))
    assert list(document) == ["instances"]
    return document["instances"]


@pytest.mark.parametrize("content_type", JSON_TYPES)
@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [1.0, 2]}',
        '{"inputs": {"a": [1]}}',
        '{"examples": [{"x": 1}], "context": {}}',
        ' {\n"signature_name": "s",\n  "instances": [[1.0000000000000000001e0]]\n}\r\n',
        '{"instances": [NaN, -Infinity, Infinity, Inf, -NaN, 1e400]}',
        '{"instances": ["\\ud800"], "instances": [2]}',
        '{"\\u0069nstances": [1]}',
        '{"instances":' + "[" * 60 + "]" * 60 + "}",
    ],
)
def test_native_documents_pass_byte_for_byte(body: str, content_type: str) -> None:
    assert convert(body, content_type) == body.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("1.0", [1.0]),
        ('"a"', ["a"]),
        ("true", [True]),
        ("null", [None]),
        ('{"x": 1}', [{"x": 1}]),
        ("{}", [{}]),
        ("[1, 2]", [[1, 2]]),
        ('["a","b"]', [["a", "b"]]),
        ("[]", [[]]),
        ("[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        (" [ [1,2],\n[3,4]]\n", [[1, 2], [3, 4]]),
        ("[" + " " * 100 + "[1],[2]]", [[1], [2]]),
        ('[{"x":1},{"x":2}]', [{"x": 1}, {"x": 2}]),
        ("[[1],2]", [[[1], 2]]),
        ('["[1]", [2]]', [["[1]", [2]]]),
        ('{"text":"a} {b"}', [{"text": "a} {b"}]),
        ('{"text":"see [1] [2]"}', [{"text": "see [1] [2]"}]),
        ('{"text":"\\"instances\\": 1"}', [{"text": '"instances": 1'}]),
        ('{"x":{"inputs":[1]}}', [{"x": {"inputs": [1]}}]),
        ('[{"inputs":[1]},{"inputs":[2]}]', [{"inputs": [1]}, {"inputs": [2]}]),
    ],
)
def test_a_lone_document(body: str, expected: object) -> None:
    assert instances(body) == expected
    assert instances(body, None) == expected


@pytest.mark.parametrize("body", ["[[1,2],[3,4]]", '[{"x":1}]', "[1,2]"])
def test_under_a_line_type_one_line_is_one_instance(body: str) -> None:
    for content_type in JSON_TYPES[1:]:
        assert instances(body, content_type) == [json.loads(body)]


@pytest.mark.parametrize("content_type", JSON_TYPES)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"x":1}\n{"x":2}', [{"x": 1}, {"x": 2}]),
        ("1\n2", [1, 2]),
        ('"a"\n"b"\n', ["a", "b"]),
        ("[1]\n[2]", [[1], [2]]),
        ("[[1]]\r\n\r\n  \r\n[[2]]\r\n", [[[1]], [[2]]]),
        ("1\r2\r", [1, 2]),
        ('{"x":1}{"x":2}', [{"x": 1}, {"x": 2}]),
        ('{"x":1} {"x":2}\n{"x":3}', [{"x": 1}, {"x": 2}, {"x": 3}]),
        ('{\n  "x": 1\n}\n{\n  "x": 2\n}\n', [{"x": 1}, {"x": 2}]),
        ("[\n1\n]\n[\n2\n]", [[1], [2]]),
        ("1 2\n3", [1, 2, 3]),
        ('"a""b"', ["a", "b"]),
        ('{"inputs":[1]}\n{"inputs":[2]}', [{"inputs": [1]}, {"inputs": [2]}]),
        ('{"examples":"a"}\n{"examples":"b"}', [{"examples": "a"}, {"examples": "b"}]),
        ('{"t":"}\\n{"}\n{"t":"\\u2028"}', [{"t": "}\n{"}, {"t": "\u2028"}]),
        ('{"t":"\u2028\u0085"}\n{"t":2}', [{"t": "\u2028\u0085"}, {"t": 2}]),
    ],
)
def test_several_documents_are_several_instances(body: str, expected: object, content_type: str) -> None:
    assert instances(body, content_type) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[NaN, Infinity, Inf, -NaN]", "[[NaN, Infinity, Inf, -NaN]]"),
        ('{"x": NaN}\n{"x": "NaN Infinity"}', '[{"x": NaN},{"x": "NaN Infinity"}]'),
        ('{"x": -Infinity}{"x": 2}', '[{"x": -Infinity},{"x": 2}]'),
        ("[[NaN],[1.50]]", "[[NaN],[1.50]]"),
        ("123456789012345678901234567890", "[123456789012345678901234567890]"),
        ("[1.0, 1, 1e0, 0.10]\n[-0.0]", "[[1.0, 1, 1e0, 0.10],[-0.0]]"),
        ('{"a":1,"a":2}\n"\\u00e9é/"', '[{"a":1,"a":2},"\\u00e9é/"]'),
    ],
)
def test_values_reach_the_model_server_as_written(body: str, expected: str) -> None:
    assert convert(body).decode() == f'{{"instances":{expected}}}'


@pytest.mark.parametrize("body", ['{"instances":[1]}\n{"instances":[2]}', '{"x":1}{"instances" :[2]} 3'])
def test_instances_beside_another_document_is_refused(body: str) -> None:
    with pytest.raises(BadRequest, match=r'Line [12]: .*"instances"'):
        convert(body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "Line 1: the body is empty"),
        (" \r\n\n", "Line 1: the body is empty"),
        ("\ufeff", "Line 1: the body is empty"),
        ("1.0,2.0\n3.0,4.0", "Line 1, column 4: .*text/csv"),
        ('{"x":1},{"x":2}', "Line 1, column 8: "),
        ('{"x":1}\n{"x":', "Line 2, column 6: "),
        ('{"x":1}\r\n{"x":2}\r\n{x:3}', "Line 3, column 2: "),
        ('{"instances":[1,]}', "Line 1, column 17: "),
        ('{"instances":[1]} trailing', "Line 1, column 19: "),
        ("007", "Line 1, column 2: "),
        ("1-2", "Line 1, column 2: "),
        ("truefalse", "Line 1, column 5: "),
        ("[1]\n1{}", "Line 2, column 2: "),
        ("{'x': 1}", "Line 1, column 2: "),
        ("nan", "Line 1, column 1: "),
        ('"a\nb"', "Line 1, column 3: "),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 100"),
        ("[" * 100_000, "nested deeper than 100"),
    ],
)
def test_what_is_not_json_is_refused_naming_the_place(body: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        convert(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("1.0,2.0\n3.0,4.0", "[[1.0,2.0],[3.0,4.0]]"),
        ("1,2\r\n3,4\r\n", "[[1,2],[3,4]]"),
        ("1,2\r3,4\r", "[[1,2],[3,4]]"),
        ("\n\n1,2\n\n\n3,4\n\n", "[[1,2],[3,4]]"),
        ("1,2\n  \n3,4\n\t", "[[1,2],[3,4]]"),
        ("1,2", "[[1,2]]"),
        ("5\n6", "[5,6]"),
        ("5", "[5]"),
        ("5\r\n\r\n6\r\n", "[5,6]"),
        ("a,b,c", '[["a","b","c"]]'),
        ('"a,b",c', '[["a,b","c"]]'),
        ("1,abc", '[[1,"abc"]]'),
        ("Eiffel,1", '[["Eiffel",1]]'),
        ("a\nb", '["a","b"]'),
        ('"a ""q"" b",c', r'[["a \"q\" b","c"]]'),
        ('"a\nb",c\n"d\r\n\r\ne",f', r'[["a\nb","c"],["d\r\n\r\ne","f"]]'),
        (r"C:\tmp,x", r'[["C:\\tmp","x"]]'),
        ("a\tb,c", r'[["a\tb","c"]]'),
        ('"1","2"', '[["1","2"]]'),
        ('"1"\n2', '["1",2]'),
        ('1,"2"', '[[1,"2"]]'),
        ('"a" , "b, c"\t', '[["a","b, c"]]'),
        ('5" pipe,a"b', r'[["5\" pipe","a\"b"]]'),
        ('5" pipe,"a\nb"', r'[["5\" pipe","a\nb"]]'),
        ('""', '[""]'),
        ('"",""', '[["",""]]'),
        ('1,"",2', '[[1,"",2]]'),
        ("a,,b", '[["a","","b"]]'),
        ("a,,1", '[["a","",1]]'),
        (",", '[["",""]]'),
        ('""""', r'["\""]'),
        (" a , b ", '[[" a "," b "]]'),
        (".5,+5,1.,007,1e5,-3", "[[0.5,5,1.0,7,1e5,-3]]"),
        ("-.5e-3,+0.10,00.50,1.E5,-007,000,-0", "[[-0.5e-3,0.10,0.50,1.0E5,-7,0,-0]]"),
        ("1.0, 2.0,\t3", "[[1.0, 2.0,\t3]]"),
        ("1.0, 2.0,x", '[[1.0,2.0,"x"]]'),
        ("123456789012345678901234567890,0.1000000000000000000001", None),
        ("1,NaN", "[[1,NaN]]"),
        ("inf,-inf", "[[Infinity,-Infinity]]"),
        ("nan,NAN,-nan,INF,+Inf,Infinity,-INFINITY", "[[NaN,NaN,NaN,Infinity,Infinity,Infinity,-Infinity]]"),
        (
            "1e,e5,+,-,.,1_000,0x10,1 2,--1,1.2.3",
            '[["1e","e5","+","-",".","1_000","0x10","1 2","--1","1.2.3"]]',
        ),
        ("١,²,−1", '[["١","²","−1"]]'),
        ("true,null,[1],{}", '[["true","null","[1]","{}"]]'),
        ("\ufeff1,2", "[[1,2]]"),
        ("Köln,日本\u2028\x85", '[["Köln","日本\u2028\x85"]]'),
        ("a\0b,\x01", r'[["a\u0000b","\u0001"]]'),
    ],
)
@pytest.mark.parametrize("content_type", ["text/csv", "Text/CSV; charset=UTF-8; header=absent"])
def test_csv(body: str, expected: str | None, content_type: str) -> None:
    wanted = f"[[{body}]]" if expected is None else expected
    assert convert(body, content_type).decode() == f'{{"instances":{wanted}}}'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "Line 1: the body has no rows"),
        ("\r\n\n", "Line 1: the body has no rows"),
        ("1,2\n3", "Line 2 has 1 fields and line 1 has 2"),
        ("1,2\n\n3,4,5\n", "Line 3 has 3 fields and line 1 has 2"),
        ('"a\n\nb",2\r\n3,4\r5', "Line 5 has 1 fields and line 1 has 2"),
        ("1,,3", "Line 1, field 2: empty"),
        ("1,2,3\n4,5,", "Line 2, field 3: empty"),
        ("1,2\n  ,NaN", "Line 2, field 1: empty"),
        ('a,b\n"c,d', "Line 2, field 1: its quotes"),
        ('a\n"b\nc""\n', "Line 2, field 1: its quotes"),
        ('"a\nb","c"d', "Line 2, field 2: its quotes"),
        ("1,2\n3,\xff".encode("latin-1"), "Line 2: byte 6 of the body is not utf-8"),
        ("1,2\r\n3,\xff".encode("latin-1"), "Line 2: byte 7 of the body is not utf-8"),
    ],
)
def test_csv_that_is_refused(body: str | bytes, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        convert(body, "text/csv")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x,y\n1,2\n3,4", '[{"x":1,"y":2},{"x":3,"y":4}]'),
        ('"a ""b""", c \r\nd,1', r'[{"a \"b\"":"d","c":1}]'),
        ("1\n2", '[{"1":2}]'),
        ("instances\n2\n3", '[{"instances":2},{"instances":3}]'),
    ],
)
def test_csv_with_a_header(body: str, expected: str) -> None:
    assert convert(body, "text/csv; header=Present").decode() == f'{{"instances":{expected}}}'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("x,y", "no row"),
        ("x,x\n1,2", "'x'"),
        ("x,\n1,2", "column 2 has no name"),
        ("x,y\n1", "Line 2 has 1 fields"),
    ],
)
def test_csv_header_that_is_refused(body: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        convert(body, "text/csv;header=present")


def test_csv_header_parameter_that_means_nothing() -> None:
    with pytest.raises(BadRequest, match="present or absent"):
        convert("1", "text/csv; header=yes")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("é,1".encode("latin-1"), "text/csv; charset=iso-8859-1", [["é", 1]]),
        ("ÿþ,1".encode("latin-1"), "text/csv; charset=latin1", [["ÿþ", 1]]),
        ("é,1".encode("utf-16"), "text/csv", [["é", 1]]),
        ("é,1".encode("utf-16-le"), 'text/csv; Charset="UTF-16LE"', [["é", 1]]),
        ("1,é".encode("utf-16-be"), "text/csv; charset=utf-16", [[1, "é"]]),
        (
            "é,1".encode("shift_jis", "ignore") + "日".encode("shift_jis"),
            "text/csv; charset=Shift_JIS",
            [["", "1日"]],
        ),
        ('{"t":"é"}'.encode("utf-16"), None, [{"t": "é"}]),
        ('{"t":"é"}'.encode("utf-16-be"), "application/json; charset=utf-16", [{"t": "é"}]),
        ('{"t":"é"}'.encode("utf-16-le"), "application/json; charset=utf-16", [{"t": "é"}]),
        ('{"t":"é"}'.encode("utf-32"), "application/json", [{"t": "é"}]),
        ('{"t":"é"}'.encode("utf-8-sig"), "application/json; charset=utf8", [{"t": "é"}]),
        ('{"t":"é"}'.encode("latin-1"), "application/json; charset=latin-1", [{"t": "é"}]),
    ],
)
def test_charset(body: bytes, content_type: str | None, expected: object) -> None:
    assert instances(body, content_type) == expected


@pytest.mark.parametrize(
    "charset", ["klingon", "base64", "idna", "unicode_escape", "../os", "a" * 999, "punycode"]
)
def test_unknown_charset_is_unsupported(charset: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Charset"):
        convert("1", f"text/csv; charset={charset}")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"instances":["\xff"]}', "application/json"),
        (b"\x81,1", "text/csv; charset=cp1252"),
        (b"\xff\xfea", "text/csv"),
        ("é".encode(), "text/csv; charset=utf-16-le; x=1"),
        (b"\xed\xa0\x80", "text/csv"),
    ],
)
def test_undecodable_bytes_are_never_replaced(body: bytes, content_type: str) -> None:
    if content_type.endswith("x=1"):
        body += b"!"
    with pytest.raises(BadRequest, match="Content-Type"):
        convert(body, content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        " application/json ;odata=x",
    ],
)
def test_spellings_of_json(content_type: str | None) -> None:
    assert instances("[1,2]", content_type) == [[1, 2]]


@pytest.mark.parametrize("content_type", ["application/x-npy", "image/png", "text/plain", "json", "*/*", ";"])
def test_another_content_type_is_unsupported_and_told_what_is(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"application/json, .*text/csv") as refused:
        convert("1", content_type)
    assert refused.value.status == 415


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
def test_gzip(encoding: str) -> None:
    assert json.loads(convert(gzip.compress(b"1,2\n3,4"), "text/csv", encoding)) == {
        "instances": [[1, 2], [3, 4]]
    }


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_another_encoding_is_unsupported(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip"):
        convert("1", "application/json", encoding)


def test_unsupported_type_is_told_before_anything_is_inflated() -> None:
    with pytest.raises(HttpError) as refused:
        convert(b"not gzip", "image/png", "gzip")
    assert refused.value.status == 415


def test_not_finite_csv_numbers_are_those_numbers() -> None:
    row = instances("nan,inf,-inf,1", "text/csv")[0]
    assert math.isnan(row[0])
    assert row[1:] == [math.inf, -math.inf, 1]
