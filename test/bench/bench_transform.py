"""Records a second of a batch transform against posting the same payloads by hand to the same kind of stack.

By hand: lines read from a file, cut into the same payloads, posted by as many threads over kept connections (urllib3),
answers put together in order and written to a file. Nothing that starts or stops is counted on either side.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from bench.bench_sagemaker import cpu_seconds
from support.local_sagemaker import REGION, LocalSageMaker
from support.models import built_models
from support.stack import RunningStack

CONCURRENT = 4
BATCH = {"SAGEMAKER_BATCH": "true"}
HEADERS = {"Content-Type": "text/csv", "Accept": "text/csv"}
RATE = re.compile(r"Completed, .* (\d+) records/s, 0 errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000, help="of MultiRecord")
    parser.add_argument("--single-records", type=int, default=5_000, help="of SingleRecord")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    cases: dict[str, tuple[int, dict[str, Any]]] = {
        "MultiRecord, 1 MB": (options.records, {"MaxPayloadInMB": 1}),
        "MultiRecord, 1 MB, joined": (
            options.records,
            {"MaxPayloadInMB": 1, "DataProcessing": {"JoinSource": "Input"}},
        ),
        "SingleRecord": (options.single_records, {"BatchStrategy": "SingleRecord"}),
    }
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        model = place / "model"
        shutil.copytree(built_models() / "half_plus_two", model / "half_plus_two")
        (place / "local").mkdir()
        with RunningStack(place / "stack", model, BATCH) as stack, LocalSageMaker(place / "local") as local:
            local.create_model("half", model)
            location = {"LocationConstraint": REGION}
            local.client("s3").create_bucket(Bucket="bench", CreateBucketConfiguration=location)
            for name, (records, settings) in cases.items():
                if options.only in name:
                    compare(stack, local, name, records, settings, options.rounds)


def compare(
    stack: RunningStack, local: LocalSageMaker, name: str, records: int, settings: dict[str, Any], rounds: int
) -> None:
    """Turn and turn about, so that a machine that gets slower slows both."""
    path = local.directory / "records"
    path.write_bytes(b"".join(b"%d.5\n" % number for number in range(records)))
    hand, job = [], []
    kind = {"single": settings.get("BatchStrategy") == "SingleRecord", "join": "DataProcessing" in settings}
    by_hand(stack, path, records, **kind)  # warm
    for _ in range(rounds):
        hand.append(by_hand(stack, path, records, **kind))
        job.append(by_job(local, path, settings))
    rate, job_rate = (statistics.median(found for found, _ in each) for each in (hand, job))
    cpu, job_cpu = (statistics.median(spent for _, spent in each) / records * 1e6 for each in (hand, job))
    print(
        f"{name}: by hand {rate:.0f} records/s, as a transform {job_rate:.0f} ({100 * job_rate / rate:.0f} %); CPU of "
        f"the sender {cpu:.2f} us a record by hand, {job_cpu:.2f} us as a transform",
        flush=True,
    )


def by_hand(
    stack: RunningStack, path: Path, records: int, *, single: bool, join: bool
) -> tuple[float, float]:
    """Records a second, and seconds of this process's CPU."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1", stack.port, maxsize=CONCURRENT, block=True)

    def post(payload: bytes) -> bytes:
        response = pool.request("POST", "/invocations", body=payload, headers=HEADERS)
        assert response.status == 200, response.data
        return response.data

    begun, before = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(CONCURRENT) as threads, path.with_suffix(".out").open("wb") as out:
        sent, answered = itertools.tee(payloads(path, single))
        for payload, answer in zip(sent, threads.map(post, answered), strict=True):
            if join:
                rows = zip(payload.splitlines(), answer.splitlines(), strict=True)
                answer = b"".join(b"%s,%s\n" % row for row in rows)
            out.write(answer)
    return records / (time.monotonic() - begun), time.process_time() - before


def by_job(local: LocalSageMaker, path: Path, settings: dict[str, Any]) -> tuple[float, float]:
    """The rate that the job's own last line says: from its first healthy instance to its last answer.

    And seconds of the emulator's CPU, start and stop of the stack included.
    """
    assert local.process
    s3, sagemaker = local.client("s3"), local.client("sagemaker")
    s3.upload_file(str(path), "bench", "in/records")
    name, before = f"bench-{time.time_ns()}", cpu_seconds(local.process.pid)
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bench/in/"}
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName="half",
        TransformInput={
            "DataSource": {"S3DataSource": source},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": "s3://bench/out", "Accept": "text/csv", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        MaxConcurrentTransforms=CONCURRENT,
        **settings,
    )
    sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=name)
    spent = cpu_seconds(local.process.pid) - before
    return float(RATE.findall(local.log.read_text())[-1]), spent


def payloads(path: Path, single: bool) -> Iterator[bytes]:
    with path.open("rb") as file:
        if single:
            yield from (line.rstrip(b"\n") for line in file)
        else:
            while lines := file.readlines(2**20 - 100):
                yield b"".join(lines)


if __name__ == "__main__":
    main()
