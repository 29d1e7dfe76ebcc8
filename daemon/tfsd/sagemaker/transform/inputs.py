"""Which objects a job transforms, and where the output of each goes: S3Prefix, ManifestFile, `.out`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from tfsd.sagemaker.object_store import ObjectStore, ObjectStoreError, split_uri
from tfsd.sagemaker.transform.errors import DataError

MAX_MANIFEST_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class InputObject:
    """An object to transform; `relative` is its key below what the job names, and names its output."""

    bucket: str
    key: str
    relative: str
    size: int

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def input_objects(objects: ObjectStore, data_type: str, uri: str) -> list[InputObject]:
    """The objects of an S3DataSource, by key or in the manifest's order. Raises DataError if there is none."""
    bucket, key = split_uri(uri)
    try:
        found = list(
            _by_prefix(objects, bucket, key)
            if data_type == "S3Prefix"
            else _by_manifest(objects, bucket, key)
        )
    except ObjectStoreError as error:
        raise DataError(str(error)) from error
    if not found:
        raise DataError(f"No S3 objects found under S3 URL {uri!r}.")
    return found


def output_key(output_path: str, relative: str) -> tuple[str, str]:
    """Bucket and key of an object's output."""
    bucket, prefix = split_uri(output_path)
    return bucket, f"{prefix.rstrip('/')}/{relative}.out".lstrip("/")


def _by_prefix(objects: ObjectStore, bucket: str, prefix: str) -> Iterator[InputObject]:
    """All keys that begin with the prefix, `folder/` markers aside.

    An output keeps the directories below the prefix: below it if it is a directory, with or without its slash,
    else below the directory that it lies in.
    """
    parent = prefix.rpartition("/")[0]
    for found in objects.list(bucket, prefix):
        if found.key.endswith("/") and not found.size:
            continue
        root = prefix if found.key.startswith(prefix.rstrip("/") + "/") else parent
        relative = found.key.removeprefix(root).lstrip("/")
        yield InputObject(bucket, found.key, relative, found.size)


def _by_manifest(objects: ObjectStore, bucket: str, key: str) -> Iterator[InputObject]:
    """`[{"prefix": "s3://bucket/path/"}, "relative/key", …]`, as CreateTransformJob's S3DataSource says."""
    with objects.open(bucket, key) as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
    where = f"The manifest s3://{bucket}/{key}"
    if len(text) > MAX_MANIFEST_BYTES:
        raise DataError(f"{where} is larger than {MAX_MANIFEST_BYTES} bytes.")
    try:
        first, *names = json.loads(text)
        prefix_bucket, prefix = split_uri(first["prefix"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f'{where} must be a JSON array that begins with {{"prefix": "s3://…"}}.') from error
    for name in names:
        if not isinstance(name, str):
            raise DataError(f"{where} must name objects by strings after its prefix.")
        found = objects.find(prefix_bucket, prefix + name)
        if found is None:
            raise DataError(f"{where} names s3://{prefix_bucket}/{prefix}{name}, which does not exist.")
        yield InputObject(prefix_bucket, found.key, name, found.size)
