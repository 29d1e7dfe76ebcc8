"""Fetching all that lies below a prefix, from a small S3 that lists two keys a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.small_s3 import SmallS3
from tfsd.start.s3 import S3Error, fetch_prefix


@pytest.mark.parametrize("prefix", ["code", "code/", "/code/"])
def test_everything_below_a_prefix_is_fetched(s3: SmallS3, tmp_path: Path, prefix: str) -> None:
    s3.objects = {
        "code/": b"",
        "code/inference.py": b"x = 1\n",
        "code/lib/deep/m.py": b"y = 2\n",
        "code/lib/": b"",
        "code/requirements.txt": b"",
        "code2/inference.py": b"another's",
    }

    assert fetch_prefix("bucket", prefix, tmp_path / "out") == 3

    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"inference.py": b"x = 1\n", "lib/deep/m.py": b"y = 2\n", "requirements.txt": b""}


def test_without_a_prefix_it_is_the_whole_bucket(s3: SmallS3, tmp_path: Path) -> None:
    s3.objects = {"inference.py": b"x", "lib/m.py": b"y"}
    assert fetch_prefix("bucket", "", tmp_path) == 2


@pytest.mark.parametrize("key", ["code/../../out.py", "code//etc/passwd"])
def test_keys_that_lead_elsewhere_are_refused(s3: SmallS3, tmp_path: Path, key: str) -> None:
    s3.objects = {key: b"x"}
    with pytest.raises(S3Error, match="leads elsewhere"):
        fetch_prefix("bucket", "code", tmp_path / "out")
    assert list(tmp_path.rglob("*.py")) == []


def test_a_bucket_that_is_not_there_is_told(s3: SmallS3, tmp_path: Path) -> None:
    with pytest.raises(S3Error, match=r"cannot be downloaded: .*NoSuchBucket"):
        fetch_prefix("other", "code", tmp_path)
