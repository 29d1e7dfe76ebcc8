"""deploy/kubernetes as podman runs it: rights, places to write to, limits, probes, and an update under load."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from support.load import Load
from support.manifests import Manifest
from support.podman import Pod

BODY = '{"instances": [1.0, 2.0, 5.0]}'
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
MEMORY = 1536 * 2**20
LIMITS = {"cpu": "1", "memory": "1536Mi"}  # one CPU: fewer than the machine has


def a_pod(manifests: list[Manifest]) -> Pod:
    return Pod(manifests, f"tfsd-{secrets.token_hex(4)}", 100_000 + secrets.randbelow(100_000), LIMITS)


@pytest.fixture(scope="module")
def pod(manifests: list[Manifest]) -> Iterator[Pod]:
    with a_pod(manifests) as started:
        started.wait_until_ready()
        yield started


def status_of_init(pod: Pod) -> dict[str, str]:
    """/proc/1/status."""
    return dict(re.findall(r"(\w+):\s+(.*)", pod.run("cat", "/proc/1/status")))


@pytest.mark.parametrize("path", ["/invocations", "/v1/models/half_plus_two:predict"])
def test_it_answers(pod: Pod, path: str) -> None:
    response = requests.post(pod.url + path, data=BODY, timeout=60)
    assert response.json() == {"predictions": [3.5, 4.0, 5.5]}  # version 124 adds three


def test_it_answers_over_the_open_inference_protocol(pod: Pod) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1.0, 2.0, 5.0]}
    response = requests.post(
        f"{pod.url}/v2/models/half_plus_two/infer", json={"inputs": [tensor]}, timeout=60
    )
    assert response.json()["outputs"][0]["data"] == [3.5, 4.0, 5.5]


def test_it_runs_as_nobody_in_particular_and_without_rights(pod: Pod) -> None:
    status = status_of_init(pod)
    user = str(pod.manifest["spec"]["securityContext"]["runAsUser"])
    assert status["Uid"].split() == [user] * 4
    capabilities = {int(value, 16) for name, value in status.items() if name.startswith("Cap")}
    assert capabilities == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_only_the_run_directory_and_tmp_can_be_written_to(pod: Pod) -> None:
    mounts = [line.split() for line in pod.run("cat", "/proc/mounts").splitlines()]
    options = {place: flags.split(",") for _, place, _, flags, *_ in mounts}
    assert "ro" in options["/"]
    places = {mount["mountPath"] for mount in pod.container["volumeMounts"]}
    tried = pod.run(
        "sh",
        "-c",
        "for place in / /etc /opt /opt/ml /opt/ml/model /usr /var/tmp /home /root /run /run/tfsd /tmp; do"
        " (touch $place/probe && rm $place/probe && echo $place) 2>/dev/null; done; true",
    )
    assert set(tried.split()) == places


def test_cpus_and_memory_are_the_limits(pod: Pod) -> None:
    metrics = requests.get(f"{pod.url}/metrics", timeout=60).text
    programs = re.findall(r'^tfsd_process_resident_memory_bytes\{program="(worker-[^"]*)"', metrics, re.M)
    assert sorted(programs) == ["worker-default", "worker-slow"]  # one of each; a second would have a number
    (limit,) = re.findall(r"^tfsd_memory_limit_bytes (\S+)", metrics, re.M)
    assert float(limit) == MEMORY


def test_probes_pass(pod: Pod) -> None:
    assert [pod.probe(name) for name in ("startupProbe", "livenessProbe", "readinessProbe")] == [True] * 3


class Endpoints:
    """What a Service sends to: the pods that are ready, as the prober last saw them."""

    def __init__(self, *pods: Pod):
        self.pods = list(pods)
        self.ready = set(pods)

    def choose(self) -> str:
        return f"{secrets.choice(list(self.ready)).url}/invocations"

    def look(self) -> None:
        for pod in self.pods:
            (self.ready.add if pod.probe("readinessProbe") else self.ready.discard)(pod)


def test_an_update_under_load_fails_no_request(pod: Pod, manifests_with_s3: list[Manifest]) -> None:
    """From the model in the image to one that an init container fetches, with a stream that ends after SIGTERM."""
    endpoints = Endpoints(pod)
    parts: list[bytes] = []
    begun = threading.Event()

    def stream() -> None:
        headers = {ATTRIBUTES: "tfs-model-name=slow"}
        with requests.post(
            f"{pod.url}/invocations", data=BODY, headers=headers, stream=True, timeout=300
        ) as response:
            for part in response.iter_content(None):
                parts.append(part)
                begun.set()

    with a_pod(manifests_with_s3) as new, Load(endpoints.choose, BODY, clients=4) as load:
        new.wait_until_ready()  # maxUnavailable 0: the old one stays until then
        endpoints.pods.append(new)
        endpoints.look()
        assert endpoints.ready == {pod, new}
        load.wait_for_more()
        stopping = threading.Thread(target=pod.pre_stop)
        stopping.start()
        while pod in endpoints.ready:  # draining shows within a few probes, long before SIGTERM
            assert stopping.is_alive()
            endpoints.look()
        assert pod.probe("livenessProbe")
        slow = threading.Thread(target=stream)
        slow.start()  # comes all the same, and is answered
        assert begun.wait(60)
        stopping.join()
        pod.terminate()
        while pod.probe("livenessProbe"):  # nginx has closed the port
            time.sleep(0.1)
        load.wait_for_more()
        assert slow.is_alive()
        pod.run("touch", "/tmp/go")
        status = pod.wait_until_ended()
        slow.join()
        load.wait_for_more()
    load.assert_none_failed()
    assert b"".join(parts) == b"begun ended"
    assert status == 0
