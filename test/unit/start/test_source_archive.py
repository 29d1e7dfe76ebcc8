"""User code as an archive: what is unpacked, what is refused, and an S3 that fails at first."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfsd.start.source_archive import SourceError, fetch, is_archive


def archive(*members: tarfile.TarInfo, **files: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/") + ".py")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        for member in members:
            tar.addfile(member)
    return written.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


class FailingS3(ThreadingHTTPServer):
    """An S3 with one object, `s3://bucket/a/code.tar.gz`; the first `failures` requests are answered 503."""

    def __init__(self, content: bytes, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), S3Handler)
        self.content = content
        self.failures = failures
        self.requests = 0


class S3Handler(BaseHTTPRequestHandler):
    server: FailingS3

    def do_GET(self) -> None:
        self.server.requests += 1
        failed = self.server.requests <= self.server.failures
        found = self.path.partition("?")[0] == "/bucket/a/code.tar.gz"
        body = self.server.content if found and not failed else b""
        self.send_response(503 if failed else 200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingS3]:
    server = FailingS3(archive(inference="x = 1\n"), 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_directories_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "code.tar.gz").touch()
    assert is_archive("s3://bucket/code.tar.gz")
    assert is_archive(f"file://{tmp_path}/code.tar.gz")
    assert not is_archive(str(tmp_path))
    assert not is_archive(str(tmp_path / "missing"))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_archive_replaces_what_was_there(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "code.tar.gz").write_bytes(archive(inference="x = 1\n", lib__helper="y = 2\n"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "old.py").touch()
    directory = fetch(f"{scheme}{tmp_path}/code.tar.gz", tmp_path / "source")
    files = {str(path.relative_to(directory)) for path in directory.rglob("*.py")}
    assert files == {"inference.py", "lib/helper.py"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive(inference="x = 1\n" * 10_000)[:100],
        archive(tarfile.TarInfo("../outside.py")),
        archive(link("inference.py", "/etc/passwd")),
        archive(link("lib", ".."), tarfile.TarInfo("lib/outside.py")),
    ],
    ids=[
        "empty",
        "no archive",
        "cut",
        "outside",
        "link",
        "through a link",
    ],  # not its bytes, which have the time
)
def test_archives_that_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "code.tar.gz").write_bytes(content)
    with pytest.raises(
        SourceError, match=r"SAGEMAKER_SUBMIT_DIRECTORY=.*code\.tar\.gz cannot be unpacked: \S"
    ):
        fetch(str(tmp_path / "code.tar.gz"), tmp_path / "run" / "source")
    assert not list(tmp_path.rglob("outside.py"))


def test_s3_may_fail_for_a_while(s3: FailingS3, tmp_path: Path) -> None:
    s3.failures = 2
    directory = fetch("s3://bucket/a/code.tar.gz", tmp_path / "source")
    assert (directory / "inference.py").read_text() == "x = 1\n"
    assert s3.requests > 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_object_that_is_not_there(s3: FailingS3, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s3://bucket/b\.tar\.gz cannot be downloaded: .*404"):
        fetch("s3://bucket/b.tar.gz", tmp_path / "source")


@pytest.mark.parametrize("location", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key"])
def test_not_a_location(location: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="s3://bucket/key"):
        fetch(location, tmp_path / "source")


def test_nowhere_to_get_credentials_from(
    s3: FailingS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(SourceError, match="credentials"):
        fetch("s3://bucket/a/code.tar.gz", tmp_path / "source")
