"""Unpacking of archives: to the end, so that a checksum that does not fit is noticed."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from tfsd.start.archives import ArchiveError, unpack


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(os.urandom(10_000))
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        tar.add(tmp_path / "weights", "half/1/weights")
    return path


def test_what_is_in_it_lies_in_the_directory(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/half/1/weights").read_bytes() == (tmp_path / "weights").read_bytes()


def test_a_byte_that_was_changed_is_noticed_by_the_checksum(archive: Path, tmp_path: Path) -> None:
    """The content is stored as it is, so that tar and deflate find nothing wrong with a change."""
    content = bytearray(archive.read_bytes())
    stored = (tmp_path / "weights").read_bytes()[5000:5100]
    content[content.index(stored)] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be unpacked: CRC check failed"):
        unpack(archive, tmp_path / "out")


def test_an_archive_without_members_is_empty(tmp_path: Path) -> None:
    archive = tmp_path / "empty.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(ArchiveError, match="is empty"):
        unpack(archive, tmp_path / "out")


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(ArchiveError, match="cannot be unpacked: "):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out")
