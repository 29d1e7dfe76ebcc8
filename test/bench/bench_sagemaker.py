#!/usr/bin/env python3
"""What local SageMaker costs: time from CreateEndpoint to InService, and the CPU that it adds to an InvokeEndpoint.

    ./bin/local bench bench_sagemaker [--endpoints N] [--requests N]

The example with its digits, a real stack on the embedded model server (no TensorFlow loaded before). Requests come one
after another over one kept connection, without the costs of boto3; the CPU time is that of the emulator's process.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import tempfile
import time
from pathlib import Path

from support.local_sagemaker import LocalSageMaker

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SIGNED = "AWS4-HMAC-SHA256 Credential=local/20260101/us-west-2/sagemaker/aws4_request, Signature=none"
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoints", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, LocalSageMaker(Path(directory)) as sagemaker:
        sagemaker.create_model("digits", DIGITS)
        times = [start(sagemaker, f"e{number}") for number in range(options.endpoints)]
        shown = ", ".join(f"{seconds:.1f}" for seconds in times)
        print(f"CreateEndpoint to InService: {shown} s; median {statistics.median(times):.1f} s")
        invoke(sagemaker, "e0", options.requests)


def start(sagemaker: LocalSageMaker, name: str) -> float:
    """Seconds until an endpoint is in service, by the waiter; all but the first are deleted again."""
    client = sagemaker.client("sagemaker")
    definition = {"VariantName": "v", "ModelName": "digits", "InitialInstanceCount": 1}
    client.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**definition, "InstanceType": "ml.c5.large"}]
    )
    begun = time.monotonic()
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name)
    seconds = time.monotonic() - begun
    if name != "e0":
        client.delete_endpoint(EndpointName=name)
        client.get_waiter("endpoint_deleted").wait(EndpointName=name)
    return seconds


def invoke(sagemaker: LocalSageMaker, name: str, count: int) -> None:
    """Print CPU and time of an invocation."""
    assert sagemaker.process
    connection = http.client.HTTPConnection("localhost", sagemaker.port)
    body = (DIGITS / "sample.png").read_bytes()
    headers = {"Content-Type": "application/x-image", "Authorization": SIGNED}

    def requests(number: int) -> None:
        for _ in range(number):
            connection.request("POST", f"/endpoints/{name}/invocations", body, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200

    requests(count // 10)
    before, begun = cpu_seconds(sagemaker.process.pid), time.monotonic()
    requests(count)
    spent, seconds = cpu_seconds(sagemaker.process.pid) - before, time.monotonic() - begun
    print(
        f"InvokeEndpoint: {spent / count * 1e6:.0f} us of the emulator's CPU, {seconds / count * 1e3:.1f} ms each"
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    main()
