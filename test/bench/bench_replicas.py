"""How throughput grows with replicas, and what one costs: pods of deploy/kubernetes by podman, each with a CPU quota.

usage: bin/local bench bench_replicas [--replicas 1 2 4] [--cpus 0.25] [--memory 1536Mi] [--seconds 15] [--clients 4]

`--clients` is for each replica. All quotas together should leave a CPU for the clients. Requests go to the replicas in
turn, as a Service with ready pods spreads them. Needs podman and the image (.ci/engine makes both).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from support.load import Load
from support.manifests import Manifest
from support.models import built_models
from support.podman import SERVER, Pod, image_with_model, missing_podman, of_the_kit

INSTANCES = 20_000  # some 10 ms of CPU: what the clients need is little beside it
BODY = json.dumps({"instances": [1.0] * INSTANCES})


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bin/local bench bench_replicas", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--cpus", default="0.25", help="of each replica")
    parser.add_argument("--memory", default="1536Mi", help="of each replica")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--clients", type=int, default=4, help="for each replica")
    options = parser.parse_args()
    reason = missing_podman(SERVER)
    if reason:
        print(f"bench_replicas: nothing measured: {reason}")
        return 0
    limits = {"cpu": options.cpus, "memory": options.memory}
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {INSTANCES} instances a request")
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        model = {"half_plus_two": built_models() / "half_plus_two"}
        image = running.enter_context(image_with_model(Path(directory), model))
        pods: list[Pod] = []
        one = 0.0
        for replicas in options.replicas:
            while len(pods) < replicas:
                pods.append(running.enter_context(started(of_the_kit(image), limits)))
            rate, cpus = measure(pods, options.seconds, options.clients)
            one = one or rate / replicas
            print(
                f"{replicas} × {options.cpus} CPUs: {rate:.0f} requests/s, {rate / one / replicas:.0%} of linear;"
                f" they got {cpus:.2f} CPUs, {rate / cpus:.0f} requests for a CPU second",
                flush=True,
            )
        print(f"a replica holds {total(pods[0], 'resident_memory_bytes') / 2**20:.0f} MiB")
    return 0


@contextlib.contextmanager
def started(manifests: list[Manifest], limits: dict[str, str]) -> Iterator[Pod]:
    begun = time.monotonic()
    with Pod(manifests, f"tfsd-{secrets.token_hex(4)}", 10001, limits) as pod:
        pod.wait_until_ready()
        print(f"ready after {time.monotonic() - begun:.0f} s", flush=True)
        yield pod


def measure(pods: list[Pod], seconds: float, clients: int) -> tuple[float, float]:
    """Requests per second, and the CPUs that all the pods used: less than their quotas on a machine that is busy."""
    turn = itertools.cycle(pods)
    with Load(lambda: f"{next(turn).url}/invocations", BODY, clients=clients * len(pods)) as load:
        load.wait_for_more(50)
        used = sum(total(pod, "cpu_seconds_total") for pod in pods)
        before, begun = load.outcomes[200], time.monotonic()
        time.sleep(seconds)
        answered, lasted = load.outcomes[200] - before, time.monotonic() - begun
        used = sum(total(pod, "cpu_seconds_total") for pod in pods) - used
    load.assert_none_failed()
    return answered / lasted, used / lasted


def total(pod: Pod, of: str) -> float:
    """The sum over all processes of a pod."""
    page = requests.get(f"{pod.url}/metrics", timeout=60).text
    return sum(map(float, re.findall(rf"^tfsd_process_{of}\S* (\S+)", page, re.M)))


if __name__ == "__main__":
    sys.exit(main())
