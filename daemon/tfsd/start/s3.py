"""Fetching from S3, for settings that name objects there.

Owns the client's limits. boto3 is imported when it is needed: most endpoints do without. S3 is reached as boto3 is
configured: AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) names another endpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tfsd.errors import StartError

ATTEMPTS = 5  # of each request
CONNECT_SECONDS = 10
READ_SECONDS = 60


class S3Error(StartError):
    """Something cannot be had from S3; the text goes on after the name of what was asked for."""


def fetch_file(bucket: str, key: str, target: Path) -> None:
    """Download one object to `target`. Raises S3Error."""
    with _client() as client:
        client.download_file(bucket, key, str(target))


def fetch_prefix(bucket: str, prefix: str, directory: Path) -> int:
    """Download all objects below a prefix, as below a directory, recursively; returns how many. Raises S3Error.

    Keys that would lead out of `directory` are refused.
    """
    base = prefix.strip("/") + "/" if prefix.strip("/") else ""
    count = 0
    with _client() as client:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=base):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(base)
                if not name or name.endswith("/"):  # what stands for a directory
                    continue
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise S3Error(f"has a key that leads elsewhere: {item['Key']!r}")
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, item["Key"], str(target))
                count += 1
    return count


@contextlib.contextmanager
def _client() -> Iterator[Any]:
    """A client, whose errors become S3Error."""
    try:
        from boto3 import Session
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise S3Error(f"needs boto3, which is not installed: {error}") from error
    retries = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
    config = Config(retries=retries, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
    try:
        yield Session().client("s3", config=config)
    except (BotoCoreError, ClientError, Boto3Error, OSError, ValueError) as error:
        raise S3Error(f"cannot be downloaded: {error}") from error
