"""`python -m tfsd.start.fetch_model s3://BUCKET/… DIRECTORY`: a model from S3, where no platform lays one.

For an init container: it fetches a `model.tar.gz`, or all that lies below a prefix, before the stack starts beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tfsd.start import s3
from tfsd.start.archives import ArchiveError, unpack
from tfsd.start.s3 import S3Error


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, or say why not and return 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tfsd.start.fetch_model", description="Fetch a model from S3."
    )
    parser.add_argument("location", help="s3://BUCKET/KEY.tar.gz, or s3://BUCKET/PREFIX for all below it")
    parser.add_argument("directory", type=Path, help="where the model directory's content goes")
    options = parser.parse_args(arguments)
    try:
        fetch(options.location, options.directory)
    except (S3Error, ArchiveError) as error:
        print(f"fetch_model: {options.location} {error}", file=sys.stderr)
        return 1
    return 0


def fetch(location: str, directory: Path) -> None:
    """Raises S3Error, ArchiveError; their texts go on after the location."""
    url = urlsplit(location, allow_fragments=False)
    key = location.removeprefix(f"s3://{url.netloc}").removeprefix("/")
    if url.scheme != "s3" or not url.netloc:
        raise S3Error("is not of the form s3://BUCKET/KEY")
    if not key.endswith(".tar.gz"):
        if not s3.fetch_prefix(url.netloc, key, directory):
            raise S3Error("has no object below it")
        return
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "model.tar.gz"
        s3.fetch_file(url.netloc, key, archive)
        unpack(archive, directory)


if __name__ == "__main__":
    sys.exit(main())
