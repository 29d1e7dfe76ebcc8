"""Model data that takes too long."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")

from tfsd.sagemaker.instances.instance import InstanceError
from tfsd.sagemaker.instances.model_data import ModelDataError, TimeLimit, fetch

from ..conftest import IMAGE, ROLE, Api, archive

PREFIX = {"S3Uri": "s3://data/prefix/", "S3DataType": "S3Prefix", "CompressionType": "None"}


@pytest.mark.parametrize(
    "definition",
    [{"ModelDataUrl": "s3://data/model.tar.gz"}, {"ModelDataSource": {"S3DataSource": PREFIX}}],
    ids=["archive", "prefix"],
)
def test_a_download_has_a_time_limit(api: Api, tmp_path: Path, definition: dict[str, Any]) -> None:
    api.put("data", "model.tar.gz", archive("a"))
    api.put("data", "prefix/file", b"a")
    fetch(api.emulator.objects, definition, tmp_path / "in-time", TimeLimit(60))
    assert (tmp_path / "in-time" / "file").exists()
    with pytest.raises(
        ModelDataError, match=r"^Model data at s3://data/.* the download took longer than 0 s\.$"
    ):
        fetch(api.emulator.objects, definition, tmp_path / "late", TimeLimit(0))


def test_an_archive_of_another_kind_that_is_broken_fails_the_endpoint(api: Api) -> None:
    content = bytearray(lzma.compress(gzip.decompress(archive("".join(map(str, range(100_000)))))))
    content[len(content) // 2] ^= 0xFF
    api.put("data", "model.tar.gz", bytes(content))
    api.client("sagemaker").create_model(
        ModelName="m",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://data/model.tar.gz"},
    )
    api.make_config("c", {"ModelName": "m"})
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    described = api.describe("e")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"].startswith("Model data at s3://data/model.tar.gz cannot be unpacked: ")


def test_a_variant_says_how_long_it_may_take(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """ModelDataDownloadTimeoutInSeconds, which is 60 at least."""
    api.make_model("m")
    started: list[float] = []

    def start(instance: Any, download_seconds: float) -> None:
        started.append(download_seconds)
        raise InstanceError("no")

    monkeypatch.setattr("tfsd.sagemaker.instances.instance.Instance.start", start)
    api.make_config("c", {"ModelName": "m", "ModelDataDownloadTimeoutInSeconds": 77})
    api.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")
    api.describe("e")
    assert started == [77]
