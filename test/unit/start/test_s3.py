"""Fetching all that lies below a prefix, from a small S3 that lists two keys a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from tfsd.start.s3 import S3Error, fetch_prefix

PAGE = 2


class SmallS3(ThreadingHTTPServer):
    """One bucket, `bucket`, with `objects` by key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: SmallS3

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, bucket, key = [*unquote(url.path).split("/", 2), ""][:3]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, body = 404, b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>"
        if bucket == "bucket":
            body = self.server.objects.get(key, b"") if key else self._list(query)
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _list(self, query: dict[str, str]) -> bytes:
        keys = sorted(key for key in self.server.objects if key.startswith(query.get("prefix", "")))
        start = int(query.get("continuation-token", 0))
        shown = keys[start : start + PAGE]
        more = start + PAGE < len(keys)
        items = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in shown)
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{items}{token}</ListBucketResult>"
        ).encode()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallS3]:
    server = SmallS3()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("prefix", ["code", "code/", "/code/"])
def test_everything_below_a_prefix_is_fetched(s3: SmallS3, tmp_path: Path, prefix: str) -> None:
    s3.objects = {
        "code/": b"",
        "code/inference.py": b"x = 1\n",
        "code/lib/deep/m.py": b"y = 2\n",
        "code/lib/": b"",
        "code/requirements.txt": b"",
        "code2/inference.py": b"another's",
    }

    assert fetch_prefix("bucket", prefix, tmp_path / "out") == 3

    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"inference.py": b"x = 1\n", "lib/deep/m.py": b"y = 2\n", "requirements.txt": b""}


def test_without_a_prefix_it_is_the_whole_bucket(s3: SmallS3, tmp_path: Path) -> None:
    s3.objects = {"inference.py": b"x", "lib/m.py": b"y"}
    assert fetch_prefix("bucket", "", tmp_path) == 2


@pytest.mark.parametrize("key", ["code/../../out.py", "code//etc/passwd"])
def test_keys_that_lead_elsewhere_are_refused(s3: SmallS3, tmp_path: Path, key: str) -> None:
    s3.objects = {key: b"x"}
    with pytest.raises(S3Error, match="leads elsewhere"):
        fetch_prefix("bucket", "code", tmp_path / "out")
    assert list(tmp_path.rglob("*.py")) == []


def test_a_bucket_that_is_not_there_is_told(s3: SmallS3, tmp_path: Path) -> None:
    with pytest.raises(S3Error, match=r"cannot be downloaded: .*NoSuchBucket"):
        fetch_prefix("other", "code", tmp_path)
