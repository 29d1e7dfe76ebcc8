"""Fetching of user code that SAGEMAKER_SUBMIT_DIRECTORY names as an archive, local or in S3.

Never writes outside of the directory that it is given: members that point outside of it are refused.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from tfsd.errors import StartError
from tfsd.start import s3
from tfsd.start.s3 import S3Error

S3 = "s3://"
FILE = "file://"

log = logging.getLogger(__name__)


class SourceError(StartError):
    """The archive cannot be had or unpacked; the text names it and says why."""


def is_archive(location: str) -> bool:
    """Whether SAGEMAKER_SUBMIT_DIRECTORY names an archive and not a directory."""
    return location.startswith(S3) or Path(location.removeprefix(FILE)).is_file()


def fetch(location: str, directory: Path) -> Path:
    """Unpack the `.tar.gz` at a path, `file://…` or `s3://bucket/key` into `directory`, which is made anew.

    S3 is reached as boto3 is configured: AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) names another endpoint.
    Returns `directory`. Raises SourceError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if not location.startswith(S3):
        _unpack(Path(location.removeprefix(FILE)), directory, location)
        return directory
    downloaded = directory.with_suffix(".tar.gz")
    try:
        _download(location, downloaded)
        _unpack(downloaded, directory, location)
    finally:
        downloaded.unlink(missing_ok=True)
    return directory


def _unpack(archive: Path, directory: Path, location: str) -> None:
    # with what reads archives, which most endpoints have none of
    from tfsd.start.archives import ArchiveError, unpack

    try:
        unpack(archive, directory)
    except ArchiveError as error:
        raise SourceError(f"SAGEMAKER_SUBMIT_DIRECTORY={location} {error}") from error
    log.info("User code is from %s.", location)


def _download(location: str, target: Path) -> None:
    url = urlsplit(location, allow_fragments=False)
    bucket, key = url.netloc, location.removeprefix(f"{S3}{url.netloc}/")
    if not bucket or not key or key == location:
        raise SourceError(f"SAGEMAKER_SUBMIT_DIRECTORY={location} is not of the form s3://bucket/key")
    try:
        s3.fetch_file(bucket, key, target)
    except S3Error as error:
        raise SourceError(f"SAGEMAKER_SUBMIT_DIRECTORY={location} {error}") from error
