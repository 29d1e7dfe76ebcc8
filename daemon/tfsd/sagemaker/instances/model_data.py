"""A model's data, from S3 to a directory, as the platform lays it out: an archive unpacked, a prefix copied."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import gevent
from backports import tarfile

from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError, split_uri

COPY_BYTES = 4 << 20


class ModelDataError(Exception):
    """The data is not there or cannot be unpacked; the text names it."""


class TimeLimit:
    """For one or several downloads together, from now on."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises TimeoutError when the time is over."""
        if time.monotonic() > self._end:
            raise TimeoutError(f"the download took longer than {self.seconds:g} s")


class _LimitedFile:
    """A file that is read within a time limit. Raises TimeoutError."""

    def __init__(self, file: BinaryIO, limit: TimeLimit) -> None:
        self._limit = limit
        self._read, self.seek, self.tell = file.read, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._limit.check()
        return self._read(size)


def fetch(objects: ObjectStore, container: dict[str, Any], directory: Path, limit: TimeLimit) -> None:
    """Lay a container definition's data into `directory`, which is made. Raises ModelDataError."""
    directory.mkdir(parents=True, exist_ok=True)
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source:
        fetch_source(objects, source, directory, limit)
    elif container.get("ModelDataUrl"):
        fetch_archive(objects, container["ModelDataUrl"], directory, limit)


def fetch_source(objects: ObjectStore, source: dict[str, Any], directory: Path, limit: TimeLimit) -> None:
    """An S3DataSource of a ModelDataSource: an archive, or a prefix of files."""
    directory.mkdir(parents=True, exist_ok=True)
    if source["CompressionType"] == "None":
        _copy_prefix(objects, source["S3Uri"], directory, limit, whole=source["S3DataType"] == "S3Object")
    else:
        fetch_archive(objects, source["S3Uri"], directory, limit)


def fetch_archive(objects: ObjectStore, uri: str, directory: Path, limit: TimeLimit) -> None:
    """Unpack the `.tar.gz` at `uri` into `directory`, in a thread: the server goes on meanwhile."""
    try:
        with objects.open(*location(uri)) as file:
            failure = gevent.get_hub().threadpool.apply(_unpack, (_LimitedFile(file, limit), directory))
    except ObjectStoreError as error:
        raise ModelDataError(f"Could not find model data at {uri}.") from error
    if failure:
        raise ModelDataError(f"Model data at {uri} cannot be unpacked: {failure}.")


def exists(objects: ObjectStore, uri: str) -> bool:
    """Whether there is an object at `uri`, or any below it."""
    try:
        return next(_objects(objects, uri), None) is not None
    except (ObjectStoreError, ModelDataError):
        return False


def _unpack(file: Any, directory: Path) -> Exception | None:
    """Returns what went wrong: the pool prints what a thread raises."""
    try:
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(directory, filter="data")
    except Exception as error:  # of gzip, bzip2, xz or tar, or a name or time that this machine does not take
        return error
    return None


def _copy_prefix(objects: ObjectStore, uri: str, directory: Path, limit: TimeLimit, whole: bool) -> None:
    """Copy what lies below a prefix; with `whole`, the one object of that name."""
    bucket, prefix = location(uri)
    count = 0
    try:
        for key in _objects(objects, uri):
            name = PurePosixPath(prefix).name if whole else key.removeprefix(prefix).lstrip("/")
            if (whole and key != prefix) or not name or name.endswith("/"):
                continue
            if ".." in PurePosixPath(name).parts:
                raise ModelDataError(f"Model data at {uri} has a key that leads elsewhere: {key!r}.")
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with objects.open(bucket, key) as source, target.open("wb") as copy:
                shutil.copyfileobj(_LimitedFile(source, limit), copy, COPY_BYTES)
            count += 1
            gevent.sleep(0)
    except ObjectStoreError as error:
        raise ModelDataError(f"Could not find model data at {uri}.") from error
    except TimeoutError as error:
        raise ModelDataError(f"Model data at {uri} cannot be copied: {error}.") from error
    if not count:
        raise ModelDataError(f"Could not find model data at {uri}.")


def _objects(objects: ObjectStore, uri: str) -> Iterator[str]:
    bucket, prefix = location(uri)
    return (found.key for found in objects.list(bucket, prefix))


def location(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`, and of S3's https addresses of either style. Raises ModelDataError."""
    if not uri.startswith("https://"):
        return split_uri(uri)
    host, _, path = uri.removeprefix("https://").partition("/")
    if ".s3" in host:
        return host.partition(".s3")[0], path
    if host.startswith("s3"):
        bucket, _, key = path.partition("/")
        return bucket, key
    raise ModelDataError(f"Model data at {uri} is not in S3.")
