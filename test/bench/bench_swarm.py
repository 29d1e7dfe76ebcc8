"""One replica against two in a swarm on this machine, and a rolling update under load.

usage: bin/local bench bench_swarm [--image IMAGE] [--seconds 15] [--cpus 0.5] [--clients 8]

Deploys docker/docker-compose.yml with `docker stack deploy` and removes it again; joins a swarm of its own when the
engine is in none, and leaves it. Each replica gets `--cpus` of a CPU, so that two have twice as much as one and leave
some to the clients. Needs an engine and the image (bin/build.sh --version embedded).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from support.docker import COMPOSE_FILE, docker, missing_engine
from support.load import Load
from support.models import built_models
from tfsd.stack.ports import allocate

STACK = "tfsdbench"
SERVICE = f"{STACK}_endpoint"
FRONT = Path(__file__).with_name("swarm_front.yml")
START_SECONDS = 300
BODY = '{"instances": [1.0, 2.0, 5.0]}'


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bin/local bench bench_swarm", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--image", default="sagemaker-tensorflow-serving:embedded-cpu")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--cpus", default="0.5", help="of each replica")
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    reason = missing_engine() or missing_image(options.image)
    if reason:
        print(f"bench_swarm: nothing measured: {reason}")
        return 0
    with swarm(), deployed(options.image, options.cpus) as url:
        for replicas in (1, 2):
            scale(replicas, url)
            measure(f"{replicas} replica{'s' if replicas > 1 else ''}", url, options.seconds, options.clients)
        with Load(f"{url}/invocations", BODY, clients=options.clients) as load:
            begun = time.monotonic()
            docker("service", "update", "--force", "--quiet", SERVICE)
            took = time.monotonic() - begun
        print(f"rolling update of both replicas: {took:.0f} s, {outcomes(load)}")
    return 0


def missing_image(image: str) -> str | None:
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0
    return None if found else f"there is no image {image}; see bin/build.sh --help"


@contextlib.contextmanager
def swarm() -> Iterator[None]:
    """Inside, the engine is in a swarm."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "active":
        yield
        return
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield
    finally:
        docker("swarm", "leave", "--force")


@contextlib.contextmanager
def deployed(image: str, cpus: str) -> Iterator[str]:
    """The stack with one replica; gives the address of its port."""
    mesh_port, front_port = allocate(2)
    files = ["--compose-file", str(COMPOSE_FILE)]
    port = mesh_port
    if not has_ipvs():
        print("this kernel has no IPVS: an nginx spreads the requests in place of Docker's routing mesh")
        files += ["--compose-file", str(FRONT)]
        port = front_port
    variables = {
        "IMAGE": image,
        "MODEL_DIR": str(built_models() / "half_plus_two"),
        "PORT": str(mesh_port),
        "FRONT_PORT": str(front_port),
        "CPUS": cpus,
        "REPLICAS": "1",
    }
    command = ["docker", "stack", "deploy", "--resolve-image", "never", *files, STACK]
    try:
        subprocess.run(command, check=True, env=os.environ | variables, stdout=subprocess.DEVNULL)
        yield f"http://127.0.0.1:{port}"
    finally:
        docker("stack", "rm", STACK)
        wait_for(
            lambda: not docker("ps", "--quiet", "--filter", f"name={STACK}_"), "the stack's containers to end"
        )


def has_ipvs() -> bool:
    """Whether the kernel can do what Docker's routing mesh needs; loading the module is docker's."""
    return Path("/proc/net/ip_vs").exists() or (
        bool(shutil.which("modprobe")) and not subprocess.call(["modprobe", "-q", "ip_vs"])
    )


def scale(replicas: int, url: str) -> None:
    begun = time.monotonic()
    docker("service", "scale", "--detach", f"{SERVICE}={replicas}")
    wait_for(lambda: healthy() == replicas, f"{replicas} healthy replicas")
    wait_for(lambda: requests.get(f"{url}/ping", timeout=5).status_code == 200, "a passing ping")
    print(f"{replicas} healthy after {time.monotonic() - begun:.0f} s")


def healthy() -> int:
    return len(docker("ps", "--quiet", "--filter", f"name={SERVICE}", "--filter", "health=healthy").split())


def wait_for(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if condition():
                return
        time.sleep(0.5)
    raise SystemExit(
        f"waited {START_SECONDS} s in vain for {what}:\n{docker('stack', 'ps', '--no-trunc', STACK)}"
    )


def measure(name: str, url: str, seconds: float, clients: int) -> None:
    with Load(f"{url}/invocations", BODY, clients=clients) as load:
        load.wait_for_more(100)
        before, begun = load.outcomes[200], time.monotonic()
        time.sleep(seconds)
        rate = (load.outcomes[200] - before) / (time.monotonic() - begun)
    print(f"{name}: {rate:.0f} requests/s, {outcomes(load)}")


def outcomes(load: Load) -> str:
    failed = load.outcomes.total() - load.outcomes[200]
    return f"{load.outcomes[200]} answered, {failed} failed" + (f": {load.failures[:3]}" if failed else "")


if __name__ == "__main__":
    sys.exit(main())
