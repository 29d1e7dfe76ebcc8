"""What nginx makes of a CSV or JSON lines and sends to a model server is what a worker would have made of it."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import router
from support.nginx import RunningNginx
from tfsd.errors import HttpError
from tfsd.stack.nginx import Nginx
from tfsd.worker.conversion.convert import convert_request

HTTP = """
    include decision.conf;
    client_body_buffer_size 512k;
    client_max_body_size 0;
    large_client_header_buffers 4 256k;
    server {
        listen LISTEN;
        location = /nothing { return 204; }
        location = /invocations {
            include head.conf;
            if ($usual_lines) { rewrite ^ /lines/usual/ last; }
            set $judged "";
            rewrite ^ /lines/ last;
        }
        location = /lines/ { js_import lines from lines.js; mirror /nothing; index $lines_way; }
        location = /lines/usual/ { js_import lines from lines.js; mirror /nothing; index $usual_lines_way; }
        location = /lines/usual/direct { rewrite ^ /lines/direct last; }
        location = /lines/worker { return 200 worker; }
        location = /lines/direct {
            proxy_pass_request_body off;
            proxy_pass_request_headers off;
            proxy_method GET;
            proxy_set_header Content-Length "";
            proxy_set_header X-Document $lines_document;
            proxy_set_header X-Target "$lines_target $direct_model";
            proxy_pass "http://unix:DIRECTORY/decided.sock";
        }
    }
    server { listen "unix:DIRECTORY/decided.sock"; return 200 "$http_x_target $http_x_document"; }
"""
Ask = Callable[..., str]

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["0", "-0", "1.50", "1E+5", "-0.0e-0", "1e999", "9" * 100, "0." + "3" * 99]),
)
ODD = st.one_of(
    st.sampled_from(
        ["", "+1", "01", "-01", ".5", "5.", "1e", "- 1", "1 2", "0x1", "NaN", "inf", "-", '"1"', "a"]
    ),
    st.sampled_from(["]]", "1]", "[1]", "{", "$csv_row", "9" * 101, "0." + "3" * 100, "1_0", "1\n2", "1\r2"]),
    st.sampled_from(["1\x00", "1\x0b", "é", "\u0663"]),
)
BLANKS = st.sampled_from(
    ["", " ", "\t", "  ", " \t", "\t ", "\t\t"]
)  # one choice, where a text takes several
FIELDS = st.tuples(BLANKS, st.one_of(NUMBERS, NUMBERS, NUMBERS, ODD), BLANKS).map("".join)
ROWS = st.lists(FIELDS, min_size=1, max_size=4).map(",".join)
NUMERIC_ROWS = st.lists(st.tuples(BLANKS, NUMBERS, BLANKS).map("".join), min_size=1, max_size=4).map(",".join)
TABLES = st.tuples(
    st.one_of(st.integers(1, 3), st.integers(1, 13)).flatmap(
        lambda width: st.lists(
            st.lists(st.tuples(BLANKS, NUMBERS, BLANKS).map("".join), min_size=width, max_size=width),
            max_size=10,
        )
    ),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n\r\n"]),
    st.sampled_from(["", "\n", "\r\n"]),
).map(lambda table: table[1].join(map(",".join, table[0])) + table[2])
LINE_ENDS = st.sampled_from(["", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n", " \n", "\n \n"])
TEXTS = st.one_of(
    st.tuples(st.one_of(NUMERIC_ROWS, ROWS), LINE_ENDS).map("".join),
    st.lists(st.tuples(ROWS, LINE_ENDS).map("".join), max_size=3).map("".join),
    TABLES,
    st.text(alphabet='",\r\n\\ \t\x00\x0b\x1c\x85\u20280a.-+eE12', max_size=12),
)
ARRAYS = st.one_of(NUMERIC_ROWS, NUMERIC_ROWS, ROWS, st.just("")).map("[{}]".format)
DOCUMENTS = st.one_of(
    ARRAYS,
    ARRAYS,
    NUMBERS,
    ODD,
    st.sampled_from(["[[1],[2]]", '{"a": 1}', '{"instances": [1]}', "null", "[1][2]"]),
)
JSON_TEXTS = st.one_of(
    st.lists(st.tuples(BLANKS, DOCUMENTS, BLANKS, LINE_ENDS).map("".join), max_size=4).map("".join),
    st.lists(st.tuples(BLANKS, ARRAYS | NUMBERS, BLANKS).map("".join), max_size=10).map("\n".join),
    st.text(alphabet="[],\r\n \t\x0b\x850a.-+eE12", max_size=12),
)
JSON_LINES = ["application/jsonlines", "application/jsonl", "application/jsons", "application/x-ndjson"]


@pytest.fixture(scope="module")
def connect(
    any_nginx: Nginx, start_nginx: Callable[..., RunningNginx]
) -> Callable[..., http.client.HTTPConnection]:
    def start(**environ: Any) -> http.client.HTTPConnection:
        return start_nginx(HTTP, router.decision(joins_lines=any_nginx.joins_lines, **environ)).connect()

    return start


@pytest.fixture(scope="module")
def ask(connect: Callable[..., http.client.HTTPConnection]) -> Ask:
    return asking(connect())


@pytest.fixture(scope="module")
def asks(start_each_nginx: Callable[[str], list[http.client.HTTPConnection]]) -> list[Ask]:
    return [asking(connection) for connection in start_each_nginx(HTTP)]


def asking(connection: http.client.HTTPConnection) -> Ask:
    def invoke(body: bytes, **headers: str) -> str:
        return router.invoke(connection, body, **{"Content_Type": "text/csv", **headers})

    return invoke


def document(answer: str) -> str | None:
    """The document that goes straight to the default model, None when a worker has the request."""
    if answer == router.WORKER:
        return None
    target, model, text = answer.split(" ", 2)
    assert re.fullmatch(r"model_\d+/v1/models/half:predict", target)
    assert model == "half"
    return text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("1.0,2.0,5.0", '{"instances":[[1.0,2.0,5.0]]}'),
        ("1.0,2.0\n", '{"instances":[[1.0,2.0]]}'),
        ("1,2\n3,4", '{"instances":[[1,2],[3,4]]}'),
        ("1,2\r\n\r\n3,4\r5,6\n", '{"instances":[[1,2],[3,4],[5,6]]}'),
        ("1\n2\n", '{"instances":[1,2]}'),
        (" 1 ,\t-2e-3\r\n\r\n", '{"instances":[[ 1 ,\t-2e-3]]}'),
        ("7", '{"instances":[7]}'),
        ("0\n", '{"instances":[0]}'),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "*/*", None])
def test_a_row_of_numbers_is_sent_on(ask: Ask, body: str, expected: str, accept: str | None) -> None:
    assert document(ask(body.encode(), Accept=accept)) == expected
    assert convert_request(body.encode(), "text/csv") == expected.encode()


@settings(max_examples=400)
@given(text=TEXTS)
def test_a_worker_would_have_sent_the_same(asks: list[Ask], text: str) -> None:
    for ask in asks:
        a_worker_would_have_sent(ask(text.encode()), text, "text/csv")


def a_worker_would_have_sent(answer: str, text: str, content_type: str) -> None:
    sent = document(answer)
    if sent is not None:
        try:
            assert sent.encode() == convert_request(text.encode(), content_type)
        except HttpError as error:
            pytest.fail(f"a worker would have refused this: {error}")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        "\n1,2",
        "1,2\n3",
        "1\n2,3",
        "1,2\n \n3,4",
        "1,2\na,b",
        "1,,2",
        "a,b",
        "+1",
        ".5",
        '"1"',
        "\ufeff1,2",
        "1,2,",
    ],
)
def test_all_else_is_a_worker_s(ask: Ask, body: str) -> None:
    assert ask(body.encode()) == router.WORKER


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[1.0,2.0]", '{"instances":[[1.0,2.0]]}'),
        ("[1,2]\n[3]\r\n", '{"instances":[[1,2],[3]]}'),
        (" [ 1 , 2 ] \n\n\t[3]\r4", '{"instances":[[ 1 , 2 ],[3],4]}'),
        ("1\n-2e5\n", '{"instances":[1,-2e5]}'),
    ],
)
@pytest.mark.parametrize("content_type", JSON_LINES)
def test_lines_of_numbers_are_sent_on(ask: Ask, body: str, expected: str, content_type: str) -> None:
    assert document(ask(body.encode(), Content_Type=content_type)) == expected
    assert convert_request(body.encode(), content_type) == expected.encode()


@settings(max_examples=400)
@given(text=JSON_TEXTS, content_type=st.sampled_from(JSON_LINES))
def test_a_worker_would_have_joined_the_same(asks: list[Ask], text: str, content_type: str) -> None:
    for ask in asks:
        a_worker_would_have_sent(ask(text.encode(), Content_Type=content_type), text, content_type)


@pytest.mark.parametrize(
    "body",
    ["", "\n", "[]", "[[1]]", '{"a":1}', "[1] [2]", "[1][2]", "1 2", "[1,]", "[1]\nx", "\ufeff[1]", "NaN"],
)
def test_all_other_json_is_a_worker_s(ask: Ask, body: str) -> None:
    assert ask(body.encode(), Content_Type="application/jsonlines") == router.WORKER


@pytest.mark.parametrize("rows", [2, 300, 600])
def test_many_rows(ask: Ask, rows: int) -> None:
    body = b"1.5,2.5\n" * rows
    assert document(ask(body)) == '{"instances":[' + ",".join(["[1.5,2.5]"] * rows) + "]}"
    assert document(ask(body + b"1.5")) is None
    lines = b"[1.5]\n" * rows
    assert (
        document(ask(lines, Content_Type=JSON_LINES[0]))
        == '{"instances":[' + ",".join(["[1.5]"] * rows) + "]}"
    )


def test_several_lines_of_5_kb_are_a_worker_s(ask: Ask) -> None:
    """The patterns take them, but no script joins them."""
    for rows in (625, 12_000):
        assert ask(b"1.5,2.5\n" * rows) == router.WORKER
        assert ask(b"[1.5,2]\n" * rows, Content_Type=JSON_LINES[0]) == router.WORKER


def test_without_scripts_many_lines_are_a_worker_s(start_nginx: Callable[..., RunningNginx]) -> None:
    connection = start_nginx(HTTP, router.decision(njs=False)).connect()
    for rows in (1, 2, 8, 9):
        for line, content_type in (("[1,2]", "application/jsonlines"), ("1,2", "text/csv")):
            answer = router.invoke(connection, "\n".join([line] * rows).encode(), Content_Type=content_type)
            documents = ",".join(["[1,2]"] * rows)
            assert document(answer) == (f'{{"instances":[{documents}]}}' if rows < 9 else None)


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
@pytest.mark.parametrize("width", [1, 2, 11, 12, 13])
def test_rows_of_other_lengths_are_never_taken(
    start_nginx: Callable[..., RunningNginx], width: int, end: str
) -> None:
    """The pattern for up to 8 rows has its own way to tell."""
    connection = start_nginx(HTTP, router.decision(njs=False)).connect()
    for rows in range(2, 9):
        table = [["1.5"] * width for _ in range(rows)]
        body = "\n".join(map(",".join, table)) + end
        taken = document(router.invoke(connection, body.encode(), Content_Type="text/csv"))
        assert taken == (convert_request(body.encode(), "text/csv").decode() if width < 13 else None)
        for odd in range(rows):
            for length in {width - 1, width + 1} - {0}:
                changed = [["1.5"] * length if row == odd else fields for row, fields in enumerate(table)]
                body = "\n".join(map(",".join, changed)) + end
                assert router.invoke(connection, body.encode(), Content_Type="text/csv") == router.WORKER


@pytest.mark.parametrize("fields", [2, 1000, 24_000])
def test_a_long_row_needs_no_stack(ask: Ask, fields: int) -> None:
    body = ",".join(["1.5"] * fields).encode()
    assert document(ask(body)) == '{"instances":[[' + body.decode() + "]]}"
    assert document(ask(body + b",x")) is None


def test_a_body_of_100_kb_is_a_worker_s(ask: Ask) -> None:
    assert ask(b"1.5," * 25_000 + b"1") == router.WORKER


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/csv"},
        {"Content_Type": "text/csv; header=present"},
        {"Content_Type": "text/plain"},
        {"Content_Encoding": "gzip"},
        {"X_Amzn_SageMaker_Custom_Attributes": "tfs-model-name=own"},
    ],
)
def test_headers_that_ask_for_more_are_a_worker_s(ask: Ask, headers: dict[str, str]) -> None:
    assert ask(b"1,2", **headers) == router.WORKER


def test_a_default_of_another_type_is_a_worker_s(
    connect: Callable[..., http.client.HTTPConnection],
) -> None:
    connection = connect(SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv")
    assert router.invoke(connection, b"1,2", Content_Type="text/csv", Accept=None) == router.WORKER
    asked = router.invoke(connection, b"1,2", Content_Type="text/csv", Accept="application/json")
    assert document(asked) == '{"instances":[[1,2]]}'


def test_attributes_choose_the_model_and_the_method(ask: Ask) -> None:
    attributes = "tfs-model-name=half plus two,tfs-method=regress"
    answer = ask(b"1,2", X_Amzn_SageMaker_Custom_Attributes=attributes)
    assert answer == router.WORKER  # a name with a blank is none to the script
    answer = ask(b"1,2", X_Amzn_SageMaker_Custom_Attributes="tfs-model-version=123,tfs-method=regress")
    assert answer.split()[0].endswith("/v1/models/half/versions/123:regress")
