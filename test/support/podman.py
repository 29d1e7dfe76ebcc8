"""Pods on this machine: `podman play kube` runs the pod of deploy/kubernetes, and what is a kubelet's is done here.

podman 4 obeys security contexts, resources, volumes and settings. It has no preStop, no probe that names its port, and
no $(NAME) in commands.
`Pod.probe` asks as the manifest says; `pre_stop`, `terminate` and `wait_until_ended` are the end of a pod.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from support.manifests import DEPLOY, Manifest, built, of_kind
from tfsd.stack.ports import allocate

NAME = "sagemaker-tensorflow-serving:embedded-cpu"  # in the kit
SERVER = f"localhost/{NAME}"
START_SECONDS = 180  # on a loaded machine


@functools.cache
def missing_podman(image: str) -> str | None:
    """Why no container of the image can be run by podman here, or None."""
    if not shutil.which("podman"):
        return "there is no podman on this machine"
    if call("image", "exists", image).returncode:
        return f"podman has no image {image}: docker save {image} | podman load"
    # In a pod, since that takes more (a network, cgroups) than a container by itself.
    pod = f"tfsd-trial-{secrets.token_hex(4)}"
    tried = call("run", "--rm", "--pod", f"new:{pod}", "--memory", "64m", "--entrypoint", "true", image)
    call("pod", "rm", "--force", pod)
    if tried.returncode == 0:
        return None
    # Without systemd it complains each time of the health checks that it cannot do.
    said = " ".join(line for line in tried.stderr.splitlines() if "healthcheck" not in line)
    return f"podman cannot run a pod here (CONTAINERS_CONF=.ci/containers.conf may help): {said}"


def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run podman; what it says is in the result."""
    return subprocess.run(["podman", *words], capture_output=True, text=True, **more)


def podman(*words: str, **more: Any) -> str:
    """Run podman and return what it prints. Fails with its error."""
    done = call(*words, **more)
    assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}{done.stdout}"
    return done.stdout.strip()


@contextlib.contextmanager
def image_with_model(directory: Path, models: Mapping[str, Path], at: str = "/opt/ml/model") -> Iterator[str]:
    """The server's image with models in it, made in an empty directory as the guide says; removed at the end."""
    for name, source in models.items():
        shutil.copytree(source, directory / "model" / name)
    (directory / "Dockerfile").write_text(f"FROM {SERVER}\nCOPY model {at}\n")
    name = f"localhost/tfsd-test:{secrets.token_hex(4)}"
    podman("build", "--quiet", "--tag", name, str(directory))
    try:
        yield name
    finally:
        call("rmi", "--force", name)


def of_the_kit(image: str, directory: str = "base") -> list[Manifest]:
    """The base or an overlay of deploy/kubernetes, with an image in place of its own."""
    manifests = built(DEPLOY / "kubernetes" / directory)
    for container in containers(of_kind(manifests, "Deployment")["spec"]["template"]["spec"]):
        assert container["image"].endswith(NAME)
        container["image"] = image
    return manifests


def of_kserve(image: str, service: str) -> list[Manifest]:
    """What KServe makes of the runtime of deploy/kserve for an InferenceService of this name."""
    manifests = built(DEPLOY / "kserve")
    runtime = json.dumps(of_kind(manifests, "ClusterServingRuntime")["spec"])
    spec = json.loads(runtime.replace("{{.Name}}", service))
    (container,) = spec["containers"]
    container["image"] = image
    predictor = of_kind(manifests, "InferenceService")["spec"]["predictor"]
    pod = {
        "containers": [container],
        "volumes": spec["volumes"],
        "terminationGracePeriodSeconds": predictor["terminationGracePeriodSeconds"],
        "securityContext": {},
    }
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none"}}
    return [settings, {"kind": "Deployment", "spec": {"template": {"spec": pod}}}]


def containers(spec: Manifest) -> list[Manifest]:
    """All of a pod's, those that run before it included."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def expanded(container: Manifest) -> list[str]:
    """Its command with $(NAME) filled in from its environment, which podman 4 leaves as it is."""
    values = {variable["name"]: variable["value"] for variable in container.get("env", [])}
    return [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], word) for word in container["command"]]


def address_of_this_machine() -> str:
    """As pods reach it."""
    network = json.loads(podman("network", "inspect", "podman"))[0]
    address: str = network["subnets"][0]["gateway"]
    return address


class Pod:
    """One pod of a Deployment. A context manager: started inside, gone after.

    Args:
        manifests: what kubectl made of an overlay.
        name: of the pod, and of what it has on this machine.
        user: the user id that it runs as.
        limits: of the container's resources, in place of the manifest's.
    """

    def __init__(self, manifests: list[Manifest], name: str, user: int, limits: dict[str, str]):
        self.name = name
        (self.port,) = allocate(1)
        self.settings = of_kind(manifests, "ConfigMap")
        self.manifest = self.pod_of(of_kind(manifests, "Deployment"), user, limits)
        (self.container,) = self.manifest["spec"]["containers"]

    def pod_of(self, deployment: Manifest, user: int, limits: dict[str, str]) -> Manifest:
        """The Deployment's pod, with what a cluster would choose (names, a place in the network, a user id)."""
        spec = copy.deepcopy(deployment["spec"]["template"]["spec"])
        spec["restartPolicy"] = "Never"  # its end is looked at
        spec["securityContext"] |= {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
        (container,) = spec["containers"]
        container["resources"] = {"limits": limits, "requests": limits}
        container["ports"][0]["hostPort"] = self.port
        for volume in spec["volumes"]:  # podman's are the machine's
            volume["name"] = f"{self.name}-{volume['name']}"
        for each in containers(spec):
            if "command" in each:
                each["command"] = expanded(each)
            for mount in each["volumeMounts"]:
                mount["name"] = f"{self.name}-{mount['name']}"
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec}

    def __enter__(self) -> Pod:
        probes = ("startupProbe", "livenessProbe", "readinessProbe")
        played = copy.deepcopy(self.manifest)
        for container in played["spec"]["containers"]:
            for probe in probes:
                container.pop(probe)
        text = yaml.safe_dump_all([self.settings, played])
        try:
            podman("play", "kube", "-", input=text)
        except BaseException:
            print(
                "\n".join(
                    call("logs", f"{self.name}-{each['name']}").stderr for each in containers(played["spec"])
                )
            )
            self.remove()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.remove()

    def remove(self) -> None:
        call("pod", "rm", "--force", "--time", "0", self.name)
        call("volume", "rm", "--force", *(volume["name"] for volume in self.manifest["spec"]["volumes"]))

    @property
    def container_name(self) -> str:
        return f"{self.name}-{self.container['name']}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *command: str) -> str:
        """What a command prints inside."""
        return podman("exec", self.container_name, *command)

    def log(self) -> str:
        done = call("logs", self.container_name)
        return done.stdout + done.stderr

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(podman("inspect", self.container_name))[0]["State"]
        return state

    def probe(self, name: str) -> bool:
        """Ask once, as a kubelet does by the manifest: `startupProbe`, `livenessProbe` or `readinessProbe`."""
        probe = self.container[name]
        assert probe["httpGet"]["port"] in self.container["ports"][0].values()
        try:
            url = f"{self.url}{probe['httpGet']['path']}"
            return requests.get(url, timeout=probe["timeoutSeconds"]).status_code == 200
        except requests.RequestException:
            return False

    def wait_until_ready(self) -> None:
        """Until it has started and is ready; liveness is not asked before, as in a cluster."""
        end = time.monotonic() + START_SECONDS
        for name in ("startupProbe", "readinessProbe"):
            while not self.probe(name):
                state = self.state()
                assert state["Status"] == "running", f"{self.name} is {state}:\n{self.log()}"
                assert time.monotonic() < end, f"{self.name} passes no {name}:\n{self.log()}"
                time.sleep(0.2)

    def pre_stop(self) -> None:
        """Run preStop, which returns when SIGTERM may be sent."""
        self.run(*self.container["lifecycle"]["preStop"]["exec"]["command"])

    def terminate(self) -> None:
        podman("kill", "--signal", "TERM", self.container_name)

    def wait_until_ended(self) -> int:
        """The exit status. Fails when the grace period, which began before preStop, does not suffice."""
        *_, before = self.container["lifecycle"]["preStop"]["exec"]["command"]
        left = self.manifest["spec"]["terminationGracePeriodSeconds"] - int(before)
        return int(podman("wait", self.container_name, timeout=left))
