import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfsd.capture_format import Body, Invocation, line
from tfsd.local import replay
from tfsd.local.captures import CaptureError, invocations
from tfsd.local.replay import ReplayError

JSON = "application/json"
SAME = Body(b'{"predictions": [1.0]}', JSON)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the body that came, and the status and headers of the server's `answers`; keeps what it has seen."""

    seen: list[tuple[str, Any, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers, body))
        status, headers = getattr(self.server, "answers", (200, {}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Any]:
    handler = type("Handler", (Echo,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        server.seen = handler.seen  # type: ignore[attr-defined]
        yield server
        server.shutdown()
        thread.join()


def write(path: Path, *captured: Invocation) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line(one, 0) + "\n" for one in captured))
    return path


def test_requests_are_sent_as_they_came(tmp_path: Path, endpoint: Any, capsys: Any) -> None:
    picture = Body(b"\x89PNG", "application/x-image", "gzip")
    write(tmp_path / "2026/01/b.jsonl", Invocation(picture, picture, target_model="a/b"))
    write(
        tmp_path / "2026/01/a.jsonl",
        Invocation(SAME, SAME, "id", "tfs-method=predict"),
        Invocation(Body(b"")),
    )
    assert replay.main([str(tmp_path), "--url", endpoint.url + "/", "--rate", "1000"]) == 0
    assert capsys.readouterr().out == (
        "bin/local: 3 requests sent; responses: 2 equal, 0 different, 1 to be compared with none.\n"
    )
    (path, headers, body), (_, bare, _), (named, encoded, picture_sent) = endpoint.seen
    assert (path, body) == ("/invocations", SAME.data)
    assert (headers["Content-Type"], headers["Accept"]) == (JSON, JSON)
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "tfs-method=predict"
    assert bare["Content-Type"] is None
    assert (named, encoded["Content-Encoding"], picture_sent) == ("/models/a%2Fb/invoke", "gzip", b"\x89PNG")


def test_the_first_difference_is_shown(tmp_path: Path, endpoint: Any, capsys: Any) -> None:
    close, other = Body(b'{"predictions": [1.000001]}', JSON), Body(b'{"predictions": [2.0]}', JSON)
    capture = write(tmp_path / "c.jsonl", Invocation(SAME, close), Invocation(SAME, other, "an-id"))
    assert replay.main([str(capture), "--url", endpoint.url + "/invocations"]) == 1
    out = capsys.readouterr().out
    assert "request 2, id an-id, status 200:" in out
    assert "-  2.0\n+  1.0\n" in out
    assert out.endswith("bin/local: 2 requests sent; responses: 1 equal, 1 different.\n")
    assert replay.main([str(capture), "--url", endpoint.url, "--tolerance", "0.6"]) == 0


def test_a_compressed_response_is_compared_as_what_it_holds(tmp_path: Path, endpoint: Any) -> None:
    endpoint.answers = 200, {"Content-Encoding": "gzip"}
    now, then = (gzip.compress(SAME.data, mtime=time) for time in (1, 2))
    capture = write(tmp_path / "c.jsonl", Invocation(Body(now), Body(then, JSON, "gzip")))
    assert replay.main([str(capture), "--url", endpoint.url]) == 0


def test_a_response_changes_nothing_of_the_next_request(tmp_path: Path, endpoint: Any) -> None:
    endpoint.answers = 303, {"Location": "/elsewhere", "Set-Cookie": "a=b"}
    capture = write(tmp_path / "c.jsonl", Invocation(SAME, SAME), Invocation(SAME, SAME))
    assert replay.main([str(capture), "--url", endpoint.url]) == 0
    assert [(path, headers["Cookie"]) for path, headers, _ in endpoint.seen] == [("/invocations", None)] * 2


def test_a_response_that_is_cut_short_does_not_end_the_replay(
    tmp_path: Path, endpoint: Any, capsys: Any
) -> None:
    endpoint.answers = 200, {"Transfer-Encoding": "chunked"}  # which its body is not
    capture = write(tmp_path / "c.jsonl", Invocation(SAME), Invocation(SAME, SAME, "an-id"))
    assert replay.main([str(capture), "--url", endpoint.url]) == 1
    assert capsys.readouterr().out == (
        "request 2, id an-id: the response cannot be read to its end\n"
        "bin/local: 2 requests sent; responses: 0 equal, 1 different, 1 to be compared with none.\n"
    )


def test_nobody_answers(tmp_path: Path) -> None:
    capture = write(tmp_path / "c.jsonl", Invocation(SAME))
    with pytest.raises(ReplayError, match=r"no response from http://127\.0\.0\.1:1/invocations"):
        replay.main([str(capture), "--url", "http://127.0.0.1:1"])


def test_what_is_no_capture(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"has no \.jsonl file"):
        list(invocations(tmp_path))
    (tmp_path / "x.jsonl").write_text(line(Invocation(SAME), 0) + "\n\n{}\n")
    with pytest.raises(CaptureError, match=r"x\.jsonl, line 3: it has no captureData"):
        list(invocations(tmp_path))
