"""A model from S3 for an init container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from support.small_s3 import SmallS3
from tfsd.start.fetch_model import main


def archive(files: dict[str, bytes]) -> bytes:
    """A `.tar.gz` of files by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_what_lies_below_a_prefix(s3: SmallS3, tmp_path: Path) -> None:
    s3.objects = {"models/half/1/saved_model.pb": b"graph", "models/other": b""}
    assert main(["s3://bucket/models/half/", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model/1/saved_model.pb").read_bytes() == b"graph"


def test_an_archive(s3: SmallS3, tmp_path: Path) -> None:
    s3.objects = {"a/model.tar.gz": archive({"half/1/saved_model.pb": b"graph", "code/inference.py": b""})}
    assert main(["s3://bucket/a/model.tar.gz", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "half"]


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("s3://bucket/none", "s3://bucket/none has no object below it"),
        ("s3://nobody/model.tar.gz", "s3://nobody/model.tar.gz cannot be downloaded: "),
        ("s3://bucket/broken.tar.gz", "s3://bucket/broken.tar.gz cannot be unpacked: "),
        ("/a/path", "/a/path is not of the form s3://BUCKET/KEY"),
        ("s3://", "s3:// is not of the form"),
    ],
)
def test_what_cannot_be_had(
    s3: SmallS3, tmp_path: Path, capsys: pytest.CaptureFixture[str], location: str, complaint: str
) -> None:
    s3.objects = {"broken.tar.gz": b"nonsense"}
    assert main([location, str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"fetch_model: {complaint}")
