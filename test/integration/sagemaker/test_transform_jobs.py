"""Transform jobs over real stacks: many records, bad files, filters and joins, memory, stopping."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from support.local_sagemaker import LocalSageMaker

CODE = """
import time

def handler(data, context):
    body = data.read()
    if body == b"sleep":
        time.sleep(600)
    return b"ok\\n" * (body.count(b"\\n") + 1), "text/csv"
"""
ECHO = """
import os

refused = set()


class Busy(Exception):
    status_code = 503


def handler(data, context):
    body = data.read()
    if body.startswith(b"busy") and body not in refused:
        refused.add(body)
        raise Busy
    return b"<" + body + b">", "text/" + os.environ["SAGEMAKER_BATCH"]
"""
RECORDS = [b"one", b"", b"three" * 10]
LINE = b"x" * 1023 + b"\n"
LARGE = 200 * 2**20  # bytes of an object when it is unpacked
MAX_EXTRA_BYTES = 80 * 2**20  # what the emulator may take to transform it
CSV = {"ContentType": "text/csv", "SplitType": "Line"}, {"Accept": "text/csv", "AssembleWith": "Line"}
JSON_LINES = (
    {"ContentType": "application/jsonlines", "SplitType": "Line"},
    {"Accept": "application/jsonlines", "AssembleWith": "Line"},
)


@pytest.fixture(scope="module")
def jobs(sagemaker: LocalSageMaker, models: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalSageMaker:
    """With the models `half` (x / 2 + 3, no code), `handler` (a line for each line) and `echo`, and two buckets."""
    for name, code in (("half", None), ("handler", CODE), ("echo", ECHO)):
        directory = tmp_path_factory.mktemp(name)
        shutil.copytree(models / "half_plus_two", directory / "half_plus_two")
        if code:
            (directory / "code").mkdir()
            (directory / "code" / "inference.py").write_text(code)
        sagemaker.create_model(name, directory)
    sagemaker.make_bucket("in-bucket")
    sagemaker.make_bucket("out-bucket")
    return sagemaker


def begin(jobs: LocalSageMaker, name: str, how: tuple[dict[str, str], dict[str, str]], **more: Any) -> None:
    """Begin a job over s3://in-bucket/NAME/ to s3://out-bucket/NAME/."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://in-bucket/{name}/"}
    model = more.pop("ModelName", "half")
    compression = {"CompressionType": more.pop("CompressionType", "None")}
    jobs.client("sagemaker").create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={"DataSource": {"S3DataSource": source}, **how[0], **compression},
        TransformOutput={"S3OutputPath": f"s3://out-bucket/{name}", **how[1]},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    )


def ended(jobs: LocalSageMaker, name: str) -> dict[str, Any]:
    client = jobs.client("sagemaker")
    while (described := client.describe_transform_job(TransformJobName=name))["TransformJobStatus"] in (
        "InProgress",
        "Stopping",
    ):
        pass  # it is held while the job runs
    return dict(described)


def put(jobs: LocalSageMaker, key: str, body: bytes) -> None:
    jobs.client("s3").put_object(Bucket="in-bucket", Key=key, Body=body)


def outputs(jobs: LocalSageMaker, name: str) -> dict[str, bytes]:
    s3 = jobs.client("s3")
    keys = [
        item["Key"] for item in s3.list_objects_v2(Bucket="out-bucket", Prefix=f"{name}/").get("Contents", [])
    ]
    return {key: s3.get_object(Bucket="out-bucket", Key=key)["Body"].read() for key in keys}


def test_100_000_lines_and_one_bad_file(jobs: LocalSageMaker) -> None:
    put(jobs, "many/1.csv", b"".join(b"%d\n" % number for number in range(100_000)))
    put(jobs, "many/2.csv", b"1.0\n2.0\nnonsense\n")
    put(jobs, "many/3.csv", b"4\n")
    begin(
        jobs, "many", CSV, MaxConcurrentTransforms=4, MaxPayloadInMB=1, DataProcessing={"JoinSource": "Input"}
    )
    described = ended(jobs, "many")
    assert described["TransformJobStatus"] == "Failed"
    assert (
        "s3://in-bucket/many/2.csv: Bad HTTP status received from algorithm: 400"
        in described["FailureReason"]
    )
    found = outputs(jobs, "many")
    assert list(found) == ["many/1.csv.out", "many/3.csv.out"]
    assert found["many/3.csv.out"] == b"4,5.0\n"
    rows = [line.split(b",") for line in found["many/1.csv.out"].splitlines()]
    assert [(int(number), float(result)) for number, result in rows] == [
        (n, n / 2 + 3) for n in range(100_000)
    ]


def test_an_id_column_that_the_model_does_not_see(jobs: LocalSageMaker) -> None:
    put(jobs, "ids/a.csv", b'"row, 1",2,dropped\n"row, 2",4,dropped\n')
    processing = {"InputFilter": "$[1]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    begin(jobs, "ids", CSV, DataProcessing=processing)
    assert ended(jobs, "ids")["TransformJobStatus"] == "Completed"
    assert outputs(jobs, "ids") == {"ids/a.csv.out": b'"row, 1",4.0\n"row, 2",5.0\n'}


def test_an_id_attribute_that_the_model_does_not_see(jobs: LocalSageMaker) -> None:
    put(jobs, "attributes/a.jsonl", b'{"id": 7, "features": 2.0}\n{"id": 8, "features": 4.0}\n')
    processing = {
        "InputFilter": "$.features",
        "JoinSource": "Input",
        "OutputFilter": "$['id','SageMakerOutput']",
    }
    begin(jobs, "attributes", JSON_LINES, BatchStrategy="SingleRecord", DataProcessing=processing)
    assert ended(jobs, "attributes")["TransformJobStatus"] == "Completed"
    (output,) = outputs(jobs, "attributes").values()
    assert [json.loads(line) for line in output.splitlines()] == [
        {"id": 7, "SageMakerOutput": {"predictions": [4.0]}},
        {"id": 8, "SageMakerOutput": {"predictions": [5.0]}},
    ]


def recordio(records: list[bytes]) -> bytes:
    """MXNet's RecordIO."""
    return b"".join(
        struct.pack("<II", 0xCED7230A, len(record)) + record + bytes(-len(record) % 4) for record in records
    )


def tfrecord(records: list[bytes]) -> bytes:
    def checked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return data + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    return b"".join(checked(struct.pack("<Q", len(record))) + checked(record) for record in records)


SINGLE = {"BatchStrategy": "SingleRecord"}
SPLITS: dict[str, tuple[bytes, dict[str, str], dict[str, str], dict[str, Any], bytes]] = {
    "an object as it is": (b"a\nb\n", {}, {}, {}, b"<a\nb\n>"),
    "chunked": (b"a\nb\n", {}, {}, {"MaxPayloadInMB": 0}, b"<a\nb\n>"),
    "lines": (b"a\r\n\nb", {"SplitType": "Line"}, {"AssembleWith": "Line"}, SINGLE, b"<a>\n<b>\n"),
    "RecordIO": (recordio(RECORDS), {"SplitType": "RecordIO"}, {}, SINGLE, b"<one><><%b>" % RECORDS[2]),
    "TFRecords": (tfrecord(RECORDS), {"SplitType": "TFRecord"}, {}, SINGLE, b"<one><><%b>" % RECORDS[2]),
    "TFRecords together": (
        *(tfrecord(RECORDS), {"SplitType": "TFRecord"}, {}, {}),
        b"<%b>" % tfrecord(RECORDS),
    ),
}


def test_every_split_type(jobs: LocalSageMaker) -> None:
    """Side by side, two at a time."""

    def transformed(case: str) -> bytes:
        content, split, assembly, more, _ = SPLITS[case]
        name = case.replace(" ", "-")
        put(jobs, f"{name}/a", content)
        begin(jobs, name, (split, assembly), ModelName="echo", **more)
        described = ended(jobs, name)
        assert described["TransformJobStatus"] == "Completed", described.get("FailureReason")
        return outputs(jobs, name)[f"{name}/a.out"]

    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(SPLITS, threads.map(transformed, SPLITS), strict=True))
    assert found == {case: expected for case, (*_, expected) in SPLITS.items()}


def test_objects_of_a_manifest_on_two_instances(jobs: LocalSageMaker) -> None:
    """Both are packed, and one is refused by the container at first."""
    manifest = [{"prefix": "s3://in-bucket/manifest/"}, "b/2.gz", "1.gz"]
    put(jobs, "manifest/1.gz", gzip.compress(b"busy"))
    put(jobs, "manifest/b/2.gz", gzip.compress(b"two"))
    put(jobs, "manifest/3.gz", gzip.compress(b"not named"))
    put(jobs, "the-manifest", json.dumps(manifest).encode())
    source = {"S3DataType": "ManifestFile", "S3Uri": "s3://in-bucket/the-manifest"}
    jobs.client("sagemaker").create_transform_job(
        TransformJobName="manifest",
        ModelName="echo",
        ModelClientConfig={"InvocationsMaxRetries": 3, "InvocationsTimeoutInSeconds": 60},
        TransformInput={"DataSource": {"S3DataSource": source}, "CompressionType": "Gzip"},
        TransformOutput={"S3OutputPath": "s3://out-bucket/manifest", "Accept": "text/true"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 2},
    )
    assert ended(jobs, "manifest")["TransformJobStatus"] == "Completed"
    assert outputs(jobs, "manifest") == {"manifest/1.gz.out": b"<busy>", "manifest/b/2.gz.out": b"<two>"}
    group = "/aws/sagemaker/TransformJobs"
    streams = jobs.client("logs").describe_log_streams(logGroupName=group, logStreamNamePrefix="manifest/")
    assert len(streams["logStreams"]) == 4  # of two containers, and what the job says of them


@pytest.mark.parametrize("payload", [0, 6])
def test_memory_does_not_grow_with_the_object(jobs: LocalSageMaker, payload: int) -> None:
    """A packed object, so that only the job reads all of it; chunked in one request, and in many."""
    put(jobs, f"large-{payload}/a.gz", gzip.compress(LINE * (LARGE // len(LINE)), 1))
    assert jobs.process
    before = _memory(jobs.process.pid, "VmRSS")
    Path(f"/proc/{jobs.process.pid}/clear_refs").write_text("5")  # the high-water mark begins anew
    begin(
        jobs,
        f"large-{payload}",
        CSV,
        ModelName="handler",
        CompressionType="Gzip",
        MaxPayloadInMB=payload,
        MaxConcurrentTransforms=2,
        DataProcessing={"JoinSource": "Input"},
    )
    described = ended(jobs, f"large-{payload}")
    assert described["TransformJobStatus"] == "Completed", described.get("FailureReason")
    assert _memory(jobs.process.pid, "VmHWM") - before < MAX_EXTRA_BYTES
    listed = jobs.client("s3").list_objects_v2(Bucket="out-bucket", Prefix=f"large-{payload}/")
    assert [item["Size"] for item in listed["Contents"]] == [LARGE // len(LINE) * (len(LINE) + len(b",ok"))]


def test_stopping_a_job_whose_container_hangs(jobs: LocalSageMaker) -> None:
    put(jobs, "hangs/a", b"quick")
    put(jobs, "hangs/b", b"sleep")
    begin(jobs, "hangs", ({"ContentType": "text/csv"}, {"Accept": "text/csv"}), ModelName="handler")
    end = time.monotonic() + 60
    while not outputs(jobs, "hangs"):
        assert time.monotonic() < end, jobs.log_text()
        time.sleep(0.1)
    jobs.client("sagemaker").stop_transform_job(TransformJobName="hangs")
    assert ended(jobs, "hangs")["TransformJobStatus"] == "Stopped"
    assert outputs(jobs, "hangs") == {"hangs/a.out": b"ok\n"}


def _memory(pid: int, field: str) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
