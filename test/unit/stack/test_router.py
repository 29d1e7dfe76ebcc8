"""nginx's decision, in a real nginx: what goes straight to a model server, and that any doubt goes to a worker."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from support.nginx import RunningNginx
from support.router import BUFFER, DIRECT, HTTP, NATIVE, WORKER, Ask, Connect, decision, invoke, path_of


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            NATIVE,
            b'{"inputs":[[1,2],[3,4]]}',
            b'{"inputs":{"a":[1],"b":["x"]},"signature_name":"serving_default"}',
            b'{"examples":[{"x":1}]}',
            b'{"instances":[{"x":1},{"x":2}]}',
            b'{"signature_name":"serving_default","instances":[1]}',
            b' \r\n\t{ \n"signature_name" :\t"a b", "inputs" : 1 }\n\n',
            b'{\n  "instances": [\n    [1],\n    [2]\n  ]\n}\n',
            b'{"instances":["na\\u00efve"]}',
            b'{"instances":[NaN]}',
            b'{"instances":[]}',
            b'{"inputs":1}',
            # punctuation within values
            b'{"instances":["a} {b"]}',
            b'{"instances":["see [1] [2]"]}',
            b'{"instances":["f(a[0]) + g"]}',
            b'{"instances":["{", "}}", "\\"}", "\\\\"]}',
            b'{"instances":["\\"]}, "]}',
            b'{"instances":[[[[[1]]]]]}',
            b'{"instances":[' + b"1" * 999 + b"]}",
        ],
    )
    def test_one_native_document_goes_direct(self, ask: Ask, body: bytes) -> None:
        assert path_of(ask(body)) == DIRECT

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"[1,2]",
            b"1.0",
            b'"instances"',
            b'{"x":1}',
            b'{"x":{"inputs":[1]}}',
            b'{"x":1,"instances":[1]}',
            b'{"Instances":[1]}',
            b'{"instances2":[1]}',
            b'{"instances"}',
            b'{"inputs\\u0000":[1]}',
            b"{'instances':[1]}",
            b"instances",
            # a document of a model whose inputs are called so
            b'{"context":"It rains.","question":"Does it rain?"}',
            b'{"signature_name":"x","x":1}',
            b'{"signature_name":"x"}',
            b'{"signature_name":"x \\", ","inputs":[1]}',
            # several documents
            b'{"instances":[1]}\n{"instances":[2]}',
            b'{"instances":[1]}{"instances":[2]}',
            b'{"instances":[1]} \r\n\t [2]',
            b'{"inputs":1}\n5',
            b'{"inputs":1}5',
            b'{"inputs":1}\n"a"',
            b'{"inputs":1}\ntrue',
            b'{"inputs":1}\n-1',
            b'{"inputs":[1]}\nNaN',
            b'{"instances":[1]},{"instances":[2]}',
            b'{"inputs":1} , 5',
            b'{"instances":[1]}],[{"instances":[2]}',
            b'{"instances":[1]}, "x": {"a": 1}}',
            b'{"instances":[1]}]]',
            b'{"instances":[1]}}}',
            b'{"instances":[1]}]',
            b'{"instances":["{"]} , }',
            # what is no document at all
            b'{"instances":[1',
            b'{"instances":[1]',
            b'{"instances":[1}]',
            b'{"instances":["a]}',
            # deeper than tensors usually are, and a number of thousands of digits
            b'{"instances":' + b"[" * 7 + b"]" * 7 + b"}",
            b'{"instances":' + b"[" * 100_000,
            b'{"instances":[' + b"1" * 2000 + b"]}",
            b'{"instances":[0.' + b"1" * 5000 + b"]}",
            # a byte order mark, other encodings, bytes that are no text
            b"\xef\xbb\xbf" + NATIVE,
            NATIVE.decode().encode("utf-16"),
            NATIVE.decode().encode("utf-16-le"),
            b'{"instances":["caf\xe9"]}',
            b'{"instances":["\xed\xa0\x80"]}',
            b'{"instances":["na\xc3\xafve"]}',
            # blanks that are none in JSON
            b"\xc2\xa0" + NATIVE,
            b"\x0b" + NATIVE,
            b'{\xe2\x80\xa8"instances":[1]}',
            b"\0" + NATIVE,
        ],
    )
    def test_anything_else_goes_to_a_worker(self, ask: Ask, body: bytes) -> None:
        assert ask(body) == WORKER

    def test_a_body_in_memory_goes_direct_and_a_larger_one_to_a_worker(self, ask: Ask) -> None:
        numbers = b",".join(b"%d" % number for number in range(8000))
        body = b'{"instances":[' + numbers + b"]}"
        assert len(body) < BUFFER
        assert path_of(ask(body)) == DIRECT
        assert ask(b'{"instances":["' + b"x" * 2 * BUFFER + b'"]}') == WORKER

    @pytest.mark.parametrize(
        "body",
        [
            b'{"instances":[' + b",".join([b"[1]"] * 1_900_000) + b"]}",
            b'{"instances":[' + b",".join([b'{"a":"b"}'] * 700_000) + b"]}",
            b'{"instances":[' + b"1," * 3_900_000 + b"1]}",
            b'{"instances":["' + b"\\n" * 3_900_000 + b'"]}',
            b'{"instances":["' + b"x" * 7_900_000 + b'"]}',
        ],
        ids=["rows", "objects", "numbers", "escapes", "text"],
    )
    def test_a_body_as_large_as_memory_takes(
        self, start_nginx: Callable[..., RunningNginx], body: bytes
    ) -> None:
        http = HTTP.replace(f"client_body_buffer_size {BUFFER}", "client_body_buffer_size 8m")
        nginx = start_nginx(http, decision())
        assert path_of(invoke(nginx.connect(), body)) == DIRECT
        assert not nginx.log.read_text()  # nginx says there when a pattern needs too much

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_larger_body_is_not_looked_at(
        self, start_nginx: Callable[..., RunningNginx], chunked: bool
    ) -> None:
        http = HTTP.replace(f"client_body_buffer_size {BUFFER}", "client_body_buffer_size 32m")
        connection = start_nginx(http, decision()).connect()
        for size, taken in ((7_900_000, DIRECT), (8_000_000, WORKER)):
            body = b'{"instances":["' + b"x" * size + b'"]}'
            headers = {"Content-Type": "application/json", "Accept": "*/*"}
            connection.request(
                "POST", "/invocations", iter([body]) if chunked else body, headers, encode_chunked=chunked
            )
            assert path_of(connection.getresponse().read().decode()) == taken

    def test_a_chunked_body(self, start_router: Connect) -> None:
        connection = start_router()
        for chunks, taken in (([b'{"instan', b'ces":[1]}'], DIRECT), ([NATIVE, NATIVE], WORKER)):
            headers = {"Content-Type": "application/json", "Accept": "*/*"}
            connection.request("POST", "/invocations", iter(chunks), headers, encode_chunked=True)
            assert path_of(connection.getresponse().read().decode()) == taken


class TestHeaders:
    @pytest.mark.parametrize("content_type", [None, "application/json"])
    def test_json_goes_direct(self, ask: Ask, content_type: str | None) -> None:
        assert path_of(ask(Content_Type=content_type)) == DIRECT

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/csv",
            "application/jsonlines",
            "application/json; charset=utf-16",
            "application/x-npy",
            "json",
        ],
    )
    def test_another_content_type_goes_to_a_worker(self, ask: Ask, content_type: str) -> None:
        assert ask(Content_Type=content_type) == WORKER

    @pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
    def test_json_is_what_the_client_gets(self, ask: Ask, accept: str | None) -> None:
        assert path_of(ask(Accept=accept)) == DIRECT

    @pytest.mark.parametrize(
        "accept",
        [
            "text/csv",
            "text/csv, application/json",
            "application/jsonlines",
            "application/json;q=0.1",
            "*/*;q=0",
        ],
    )
    def test_another_accept_goes_to_a_worker(self, ask: Ask, accept: str) -> None:
        assert ask(Accept=accept) == WORKER

    @pytest.mark.parametrize("encoding", ["gzip", "identity", "br"])
    def test_a_content_encoding_goes_to_a_worker(self, ask: Ask, encoding: str) -> None:
        assert ask(gzip.compress(NATIVE), Content_Encoding=encoding) == WORKER
        assert ask(NATIVE, Content_Encoding=encoding) == WORKER

    @pytest.mark.parametrize(
        ("name", "lines"),
        [
            ("Accept", ["*/*", "text/csv"]),
            ("Accept", ["application/json", "text/csv"]),
            ("accept", ["", "text/csv"]),
            ("Content-Type", ["application/json", "text/csv"]),
            ("Content-Encoding", ["", "gzip"]),
            ("X-Amzn-SageMaker-Custom-Attributes", ["", "tfs-model-name=own"]),
            ("x-amzn-sagemaker-custom-attributes", ["note=1", "tfs-model-name=own"]),
        ],
    )
    def test_a_header_of_several_lines_goes_to_a_worker(
        self, start_router: Connect, name: str, lines: list[str]
    ) -> None:
        """nginx before 1.23 shows a map the first line only."""
        connection = start_router()
        connection.putrequest("POST", "/invocations", skip_accept_encoding=True)
        for line in lines:
            connection.putheader(name, line)
        connection.putheader("Content-Length", str(len(NATIVE)))
        connection.endheaders(NATIVE)
        assert connection.getresponse().read().decode() == WORKER

    def test_other_headers_may_have_several_lines(self, start_router: Connect) -> None:
        connection = start_router()
        connection.putrequest("POST", "/invocations")
        for value in ("a", "b", "application/json"):
            connection.putheader("X-Note", value)
        connection.putheader("__proto__", "x")
        connection.putheader("Content-Length", str(len(NATIVE)))
        connection.endheaders(NATIVE)
        assert path_of(connection.getresponse().read().decode()) == DIRECT

    def test_repeated_headers_that_are_no_text_go_to_a_worker(self, start_router: Connect) -> None:
        """njs 0.9 raises an exception where a script looks at such a header."""
        for name in ("Accept", "Content-Encoding", "X-Amzn-SageMaker-Custom-Attributes"):
            connection = start_router()
            connection.putrequest("POST", "/invocations")
            for value in (b"tfs-model-name=caf\xe9", b"x"):
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(NATIVE)))
            connection.endheaders(NATIVE)
            assert connection.getresponse().read() == WORKER.encode()

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
    def test_only_post_goes_direct(self, ask: Ask, method: str) -> None:
        assert ask(method=method) in (WORKER, "")  # an answer to HEAD has no body

    def test_a_default_accept_other_than_json(self, start_router: Connect) -> None:
        connection = start_router(SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv")
        assert invoke(connection, Accept=None) == WORKER
        assert invoke(connection, Accept="*/*") == WORKER
        assert path_of(invoke(connection, Accept="application/json")) == DIRECT


class TestAttributes:
    @pytest.mark.parametrize(
        ("attributes", "path"),
        [
            (None, "half:predict"),
            ("", "half:predict"),
            ("tfs-model-name=half", "half:predict"),
            ("tfs-model-name=half,tfs-model-version=123,tfs-method=classify", "half/versions/123:classify"),
            ("tfs-method=regress,tfs-model-version=1", "half/versions/1:regress"),
            (" TFS-Model-Name =\thalf , TFS-METHOD = predict ", "half:predict"),
            ("note=x,tfs-model-name=half,other", "half:predict"),
            ("tfs-method=predict,", "half:predict"),
            ("trace-id=7", "half:predict"),
            ("tfs-model-name=__proto__", "__proto__:predict"),
            ("tfs-model-name=constructor,tfs-model-version=1", "constructor/versions/1:predict"),
            ("tfs-model-name=a%20b", "a%2520b:predict"),
        ],
    )
    def test_what_is_asked_for(self, ask: Ask, attributes: str | None, path: str) -> None:
        assert path_of(ask(attributes=attributes)) == f"/v1/models/{path}"

    @pytest.mark.parametrize(
        "attributes",
        [
            # not there
            "tfs-model-name=other",
            "tfs-model-name=HALF",
            "tfs-model-name=own",
            "tfs-model-name=toString",
            "tfs-model-name=models",
            "tfs-model-version=2",
            "tfs-model-version=00123",
            "tfs-model-version=+1",
            "tfs-model-version=latest",
            "tfs-method=delete",
            "tfs-method=PREDICT",
            "tfs-method=metadata",
            # paths
            "tfs-model-name=../half",
            "tfs-model-name=half/versions/1",
            "tfs-model-name=half:classify",
            "tfs-model-name=half%20plus%20two",
            "tfs-model-version=1/../2",
            # malformed
            "tfs-model-name",
            "tfs-model-name=",
            "tfs-model-name=,tfs-method=predict",
            "=tfs-model-name",
            "tfs-modelname=half",
            "tfs-=half",
            "tfs-model-name=half tfs-method=classify",
            "tfs-model-name=half;tfs-method=classify",
            "tfs-model-name=half,tfs-model-name=half",
            "tfs-method=predict,tfs-method=classify",
            "tfs-model-name=half,TFS-MODEL-NAME=own",
            "note=tfs-model-name=own",
        ],
    )
    def test_what_a_worker_has_to_judge(self, ask: Ask, attributes: str) -> None:
        assert ask(attributes=attributes) == WORKER

    def test_a_name_beyond_ascii_is_encoded_or_left_to_a_worker(self, ask: Ask) -> None:
        assert path_of(ask(attributes="tfs-model-name=über")) in (WORKER, "/v1/models/%C3%BCber:predict")
        assert ask(attributes=b"tfs-model-name=\xfcber") == WORKER

    @pytest.mark.parametrize(
        "lines", [["tfs-model-name=half", "tfs-model-name=own"], ["note=1", "tfs-model-name=own"]]
    )
    def test_several_headers(self, ask: Ask, lines: list[str]) -> None:
        assert ask(attributes=lines) == WORKER

    def test_a_request_goes_to_its_models_upstream_and_is_logged_with_its_name(self, ask: Ask) -> None:
        names = {name: ask(attributes=f"tfs-model-name={name}").split()[:2] for name in ("half", "a%20b")}
        assert names["half"][1] == "half"
        assert names["a%20b"][1] == "a%2520b"
        assert names["half"][0] != names["a%20b"][0]


class TestWithoutTheScript:
    """nginx without njs."""

    def test_nothing_goes_direct_when_repeated_lines_cannot_be_seen(self) -> None:
        assert "direct_target" in decision(njs=False)["decision.conf"]
        assert "direct_target" not in decision(njs=False, joins_lines=False)["decision.conf"]

    def test_only_attributes_go_to_a_worker(self, start_nginx: Callable[..., RunningNginx]) -> None:
        connection = start_nginx(HTTP, decision(njs=False)).connect()
        assert path_of(invoke(connection)) == DIRECT
        assert path_of(invoke(connection, attributes="")) == DIRECT
        assert invoke(connection, b'{"x":1}') == WORKER
        assert invoke(connection, attributes="tfs-model-name=half") == WORKER
