"""S3 from inside: moto's own buckets, without HTTP, and their objects as files below a directory.

Owns `DIR/s3/`. Contents lie in files, so that memory stays flat and a restart finds them again: what a client writes
over HTTP is moved there right after its request (`settle`). Reading here never holds an object in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


class ObjectStoreError(Exception):
    """A bucket or key that does not exist; the text says which."""


@dataclasses.dataclass(frozen=True)
class StoredObject:
    """An object's key, its size in bytes, and its ETag without quotes."""

    key: str
    size: int
    etag: str


class ObjectStore:
    """Buckets of the emulator's account. Every method raises ObjectStoreError for a bucket that does not exist."""

    def __init__(self, directory: Path, backend: Any) -> None:
        self._directory = directory
        self._backend = backend

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, by key."""
        raise NotImplementedError

    def find(self, bucket: str, key: str) -> StoredObject | None:
        raise NotImplementedError

    def open(self, bucket: str, key: str) -> BinaryIO:
        """A seekable binary file. Raises ObjectStoreError for a key that does not exist."""
        raise NotImplementedError

    def put(self, bucket: str, key: str, body: bytes, content_type: str = "binary/octet-stream") -> None:
        raise NotImplementedError

    def put_file(self, bucket: str, key: str, path: Path, content_type: str = "binary/octet-stream") -> None:
        """Make the file at `path`, which is moved away, an object's content."""
        raise NotImplementedError

    def temporary_file(self) -> Path:
        """A path on the disk of the objects, for `put_file`; nothing is there yet."""
        raise NotImplementedError


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` → bucket and key, which may be empty. Raises ValueError for anything else."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise ValueError(f"{uri!r} is not of the form s3://bucket/key.")
    return bucket, key
