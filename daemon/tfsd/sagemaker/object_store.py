"""S3 from inside: moto's own buckets, without HTTP, and their objects as files below a directory.

Owns `DIR/s3/`. Contents lie in files, so that memory stays flat and a restart finds them again: what a client writes
over HTTP is moved there right after its request (`settle`). Reading here never holds an object in memory. Of a bucket
with versions the latest of each key survives a restart. A description is written when its content is whole, and what it
described before is removed after that: a server that is killed, or a full disk, loses no object that was there.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from moto.s3.models import FakeKey

BUCKET = "bucket.json"
INCOMING = "in"  # no bucket: names have three letters or more
BUCKET_NAME_LENGTHS = range(3, 64)

log = logging.getLogger(__name__)


class ObjectStoreError(Exception):
    """A bucket or key that does not exist; the text says which."""


@dataclasses.dataclass(frozen=True)
class StoredObject:
    """An object's key, its size in bytes, and its ETag without quotes."""

    key: str
    size: int
    etag: str


class FileContent:
    """A file as moto keeps an object's content, without holding it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            position += self.path.stat().st_size
        elif whence == os.SEEK_CUR:
            position += self._position
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Nothing is open."""


class ObjectStore:
    """Buckets of the emulator's account. Every method raises ObjectStoreError for a bucket that does not exist."""

    def __init__(self, directory: Path, backend: Any) -> None:
        """`backend` is moto's S3 backend, which is filled with what lies in `directory`."""
        self._directory = directory
        self._backend = backend
        self._described: dict[Path, dict[str, Any]] = {}  # what the description of each object says
        self._contents: dict[Path, set[Path]] = {}  # the files of all versions, by the object's description
        directory.mkdir(parents=True, exist_ok=True)
        self._incoming = directory / INCOMING
        shutil.rmtree(self._incoming, ignore_errors=True)  # what a killed server was writing
        for bucket in sorted(directory.glob(f"*/{BUCKET}")):
            self._load(bucket.parent)

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, by key."""
        keys = self._bucket(bucket).keys
        for name in sorted(name for name in keys if name.startswith(prefix)):
            found = self.find(bucket, name)
            if found:
                yield found

    def find(self, bucket: str, key: str) -> StoredObject | None:
        found = self._bucket(bucket).keys.get(key)
        if not isinstance(found, FakeKey):
            return None
        return StoredObject(key, found.size, found.etag.strip('"'))

    def open(self, bucket: str, key: str) -> BinaryIO:
        """A seekable binary file. Raises ObjectStoreError for a key that does not exist."""
        if not isinstance(self._bucket(bucket).keys.get(key), FakeKey):
            raise ObjectStoreError(f"s3://{bucket}/{key} does not exist.")
        self.settle(bucket, key)
        content: FileContent = self._bucket(bucket).keys.get(key)._value_buffer
        return content.path.open("rb")

    def read(self, bucket: str, key: str) -> bytes:
        """The whole of an object that is known to be small."""
        with self.open(bucket, key) as file:
            return file.read()

    def put(self, bucket: str, key: str, body: bytes, content_type: str = "binary/octet-stream") -> None:
        path = self.temporary_file()
        try:
            path.write_bytes(body)
            self._put(bucket, key, path, hashlib.md5(body, usedforsecurity=False).hexdigest(), content_type)
        finally:
            path.unlink(missing_ok=True)  # nothing is there any more, unless it failed

    def put_file(self, bucket: str, key: str, path: Path, content_type: str = "binary/octet-stream") -> None:
        """Make the file at `path`, which is moved away, an object's content.

        Its ETag has the form of an upload in parts, which is no MD5: the file is not read.
        """
        self._put(bucket, key, path, f"{uuid.uuid4().hex}-1", content_type)

    def temporary_file(self) -> Path:
        """A path on the disk of the objects, for `put_file`; nothing is there yet."""
        self._incoming.mkdir(exist_ok=True)
        return self._incoming / uuid.uuid4().hex

    def settle(self, bucket: str, key: str | None = None) -> None:
        """Bring the files in line with what moto has been told: one key, or all of a bucket."""
        if len(bucket) not in BUCKET_NAME_LENGTHS:  # it names no bucket, but perhaps another directory
            return
        directory = self._directory / bucket
        found = self._backend.buckets.get(bucket)
        if found is None:
            self._remove_bucket(directory)
            return
        if not (directory / BUCKET).exists():
            directory.mkdir(exist_ok=True)
            _write(directory / BUCKET, {"name": bucket, "region": found.region_name})
        if key is not None:
            self._settle_key(directory, found, key)
            return
        described = [record["key"] for path, record in self._described.items() if path.parent == directory]
        for name in {*found.keys, *described}:
            self._settle_key(directory, found, name)

    def _bucket(self, bucket: str) -> Any:
        found = self._backend.buckets.get(bucket)
        if found is None:
            raise ObjectStoreError(f"The bucket {bucket} does not exist.")
        return found

    def _put(self, bucket: str, key: str, path: Path, etag: str, content_type: str) -> None:
        self._bucket(bucket)
        stored = self._backend.put_object(bucket, key, b"", etag=etag, disable_notification=True)
        stored.set_metadata({"Content-Type": content_type})
        stored._value_buffer.close()
        stored._value_buffer = FileContent(path)
        stored.contentsize = path.stat().st_size
        self.settle(bucket, key)

    def _settle_key(self, directory: Path, bucket: Any, key: str) -> None:
        """Contents first, then the description of the latest version, then away with what no version has any more."""
        description = directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        versions = [version for version in bucket.keys.getlist(key, ()) if isinstance(version, FakeKey)]
        for version in versions:
            _move_content(version, directory)
        contents = {version._value_buffer.path for version in versions}
        latest = bucket.keys.get(key)
        if not isinstance(latest, FakeKey):
            description.unlink(missing_ok=True)
            self._described.pop(description, None)
        elif (record := _record(key, latest)) != self._described.get(description):
            _write(description, record)
            self._described[description] = record
        for path in self._contents.pop(description, set()) - contents:
            path.unlink(missing_ok=True)
        if contents:
            self._contents[description] = contents

    def _remove_bucket(self, directory: Path) -> None:
        for description in [path for path in self._contents if path.parent == directory]:
            del self._contents[description]
            self._described.pop(description, None)
        if directory.is_dir():
            for path in directory.iterdir():
                path.unlink()
            directory.rmdir()

    def _load(self, directory: Path) -> None:
        """Find a bucket's objects again, and remove what no description names: older versions, and halves."""
        described = _read(directory / BUCKET) or {"name": directory.name, "region": "us-east-1"}
        bucket = self._backend.create_bucket(described["name"], described["region"])
        for path in directory.glob("*.json"):
            record = _read(path)
            if path.name == BUCKET or record is None:
                continue
            content = FileContent(directory / record["content"])
            if not content.path.exists():
                continue
            stored = self._backend.put_object(
                bucket.name, record["key"], b"", etag=record["etag"], disable_notification=True
            )
            stored._value_buffer = content
            stored.contentsize = content.path.stat().st_size
            stored.set_metadata(record["metadata"])
            stored.last_modified = datetime.datetime.fromisoformat(record["modified"])
            self._described[path], self._contents[path] = record, {content.path}
        known = {directory / BUCKET, *self._described}.union(*self._contents.values())
        for path in directory.iterdir():
            if path not in known:
                path.unlink()


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` → bucket and key, which may be empty. Raises ValueError for anything else."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise ValueError(f"{uri!r} is not of the form s3://bucket/key.")
    return bucket, key


def _move_content(version: Any, directory: Path) -> None:
    """Have a version's content lie in a file of `directory`. Raises OSError; then it lies where it was."""
    content = version._value_buffer
    if isinstance(content, FileContent) and content.path.parent == directory:
        return
    target = directory / uuid.uuid4().hex
    if isinstance(content, FileContent):
        content.path.rename(target)
    else:
        try:
            _copy(content, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
        content.close()
    version._value_buffer = FileContent(target)


def _record(key: str, version: Any) -> dict[str, Any]:
    """An object's description."""
    return {
        "key": key,
        "content": version._value_buffer.path.name,
        "etag": version.etag.strip('"'),
        "metadata": dict(version.metadata),
        "modified": version.last_modified.isoformat(),
    }


def _copy(content: Any, target: Path) -> None:
    content.seek(0)
    with target.open("wb") as file:
        while piece := content.read(1 << 20):
            file.write(piece)


def _read(path: Path) -> dict[str, Any] | None:
    """A description; None for one that the machine went down before."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        log.error("%s cannot be read, and what it describes is forgotten: %s.", path, error)
        return None
    return record


def _write(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record))
    partial.replace(path)
