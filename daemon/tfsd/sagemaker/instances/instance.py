"""An instance of a model: what SageMaker runs on one machine, here a container or a pipeline of containers.

Owns the order of start, ping and stop, and the chain of a pipeline. Used by endpoints (one per machine of a variant)
and by batch transform (one per InstanceCount).
"""

from __future__ import annotations

import math
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from tfsd.sagemaker.instances import container as containers
from tfsd.sagemaker.instances import docker as dockers
from tfsd.sagemaker.instances import images, model_data
from tfsd.sagemaker.instances.container import Container
from tfsd.sagemaker.instances.docker import Docker, DockerContainer
from tfsd.sagemaker.instances.http_client import Response
from tfsd.sagemaker.instances.model_data import ModelDataError, TimeLimit
from tfsd.sagemaker.instances.ports import Ports, PortsExhausted
from tfsd.sagemaker.object_store import ObjectStore

__all__ = ["Instance", "InstanceError", "Launcher", "Response"]

PING_INTERVAL_SECONDS = 0.1
MAX_REASON_CHARACTERS = 700
ISOLATED = {"PIP_NO_INDEX": "1"}  # EnableNetworkIsolation: no package index

Lines = Callable[[str], None]


class InstanceError(Exception):
    """The instance cannot be started or does not become healthy; the text is a failure reason for the user."""


class Instance:
    """One machine. Made by `Launcher.instance`; nothing runs before `start`."""

    def __init__(
        self,
        name: str,
        directory: Path,
        definitions: list[_Definition],
        lines: Lines,
        stopped: Callable[[Instance], None],
    ) -> None:
        """`stopped` is called when nothing of the instance is left."""
        self.name = name
        self.directory = directory
        self.containers: list[Container] = []
        self.in_flight = 0
        self.healthy = False
        self.failed_pings = 0
        self._definitions, self._lines = definitions, lines
        self._stopped = Event()
        self._stopping = False
        self._stopped_one = stopped

    @property
    def hostnames(self) -> list[str | None]:
        """The containers' ContainerHostname, in order; None for one without."""
        return [definition.hostname for definition in self._definitions]

    @property
    def base(self) -> Path:
        """The first container's directory that is laid as /opt/ml."""
        return self._definitions[0].base

    def start(self, download_seconds: float = math.inf) -> None:
        """Fetch and unpack the model's data, within that time, then start its containers. Raises InstanceError."""
        limit = TimeLimit(download_seconds)
        try:
            for definition in self._definitions:
                self.containers.append(definition.make())
                definition.lay_out(limit)
            for container in self.containers:
                container.start(self._lines)
                if self._stopping:  # which did not find this one
                    container.stop()
                    raise InstanceError("It was stopped while it was starting.")
        except (ModelDataError, PortsExhausted, OSError) as error:
            raise InstanceError(str(error)) from error

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait for 200 from every container's /ping. Raises InstanceError with the reason out of its log."""
        end = time.monotonic() + seconds
        for number, container in enumerate(self.containers):
            while not container.ping():
                if not container.alive or time.monotonic() > end:
                    gevent.sleep(PING_INTERVAL_SECONDS)  # its last lines
                    raise InstanceError(self._unhealthy(number, container))
                gevent.sleep(PING_INTERVAL_SECONDS)
        self.healthy = True

    def check(self) -> bool:
        """Ping every container now; `healthy` is the outcome."""
        self.healthy = bool(self.containers) and all(container.ping() for container in self.containers)
        self.failed_pings = 0 if self.healthy else self.failed_pings + 1
        return self.healthy

    @property
    def alive(self) -> bool:
        """Whether every container has its process."""
        return all(container.alive for container in self.containers)

    def get(self, path: str, seconds: float = 2) -> Response:
        """GET from the first container: `/execution-parameters`, `/models`. Raises OSError."""
        return self.containers[0].client.request("GET", path, seconds)

    def invoke(
        self,
        body: bytes | Iterable[bytes],
        headers: Mapping[str, str],
        seconds: float = 60,
        path: str = "/invocations",
        hostname: str | None = None,
    ) -> Response:
        """POST /invocations, through all containers of a pipeline. An iterable body is sent chunked.

        With `hostname` (InferenceExecutionConfig Direct) only that container is asked. A 4xx or 5xx of a container is a
        Response; a connection that fails is an OSError, a time limit a TimeoutError.
        """
        if hostname is not None:
            container = self.containers[self.hostnames.index(hostname)]
            return container.post(path, body, headers, seconds)
        end = time.monotonic() + seconds
        response = self.containers[0].post(path, body, headers, seconds)
        for container in self.containers[1:]:
            if response.status >= 400:
                break
            between = {**headers, "Content-Type": response.header("Content-Type") or ""}
            response = container.post(path, response.read(), between, max(end - time.monotonic(), 0.1))
        return response

    def stop(self) -> None:
        """SIGTERM, SIGKILL after 30 s, and no process or directory is left. The second time it waits for the first."""
        if self._stopping:
            self._stopped.wait()
            return
        self._stopping, self.healthy = True, False
        gevent.joinall([gevent.spawn(container.stop) for container in self.containers])
        for definition in self._definitions:
            definition.give_back()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._stopped_one(self)
        self._stopped.set()

    def _unhealthy(self, number: int, container: Container) -> str:
        which = f"{'primary container' if number == 0 else f'container {number + 1}'} for {self.name}"
        how = "did not pass the ping health check" if container.alive else "ended before it was healthy"
        reason = container.reason()[:MAX_REASON_CHARACTERS]
        return f"The {which} {how}. Its log says: {reason}" if reason else f"The {which} {how}."


class _Definition:
    """A container definition of CreateModel, and what one container made from it takes: a directory and ports."""

    def __init__(self, launcher: Launcher, record: dict[str, Any], directory: Path, pipeline: bool) -> None:
        self._launcher, self._record, self._directory, self._pipeline = launcher, record, directory, pipeline
        self._ports: list[int] = []
        self.environment: dict[str, str] = {}

    @property
    def hostname(self) -> str | None:
        return self._record.get("ContainerHostname")

    @property
    def base(self) -> Path:
        """Laid as /opt/ml."""
        return self._directory / "ml"

    def make(self) -> Container:
        """Raises InstanceError where the image cannot be run, PortsExhausted."""
        image = self._record.get("Image", "")
        by_docker = self._launcher.docker.runs(image)
        missing = self._launcher.docker.missing() if by_docker else None
        if missing:
            raise InstanceError(
                f"The image {image} needs Docker, and {missing}. Without Docker local SageMaker runs the images of "
                f"TensorFlow Serving, as its own stack: {', '.join(images.OURS)}."
            )
        port = self._launcher.ports.take()
        self._ports.append(port)
        self._directory.mkdir(parents=True)
        environment = {
            **self._launcher.aws_environment,
            **self._record.get("Environment", {}),
            **self.environment,
        }
        if self._pipeline:
            low, high = self._launcher.ports.take_range()
            self._ports.append(low)
            environment["SAGEMAKER_SAFE_PORT_RANGE"] = f"{low}-{high}"
        if self._record.get("Mode") == "MultiModel":
            environment["SAGEMAKER_MULTI_MODEL"] = "true"
        return (self._docker_container if by_docker else self._stack)(image, environment, port)

    def _docker_container(self, image: str, environment: dict[str, str], port: int) -> Container:
        self._launcher.ports.release(port)
        if self._pipeline:
            environment["SAGEMAKER_BIND_TO_PORT"] = str(dockers.PORT_INSIDE)
        return DockerContainer(self._launcher.docker, image, self._directory, environment, port)

    def _stack(self, image: str, environment: dict[str, str], port: int) -> Container:
        environment = {
            **containers.environment_of_host(),
            "SAGEMAKER_TFS_BIND_ADDRESS": "127.0.0.1",
            **environment,
            "SAGEMAKER_BASE_DIR": str(self.base),
            "SAGEMAKER_BIND_TO_PORT": str(port),
        }
        run_dir = Path(tempfile.mkdtemp(prefix="tfsd-"))  # short: unix sockets lie below it
        return Container(self._launcher.command(run_dir), self._directory, run_dir, environment, port)

    def lay_out(self, limit: TimeLimit) -> None:
        """Raises ModelDataError."""
        objects = self._launcher.objects
        if self._record.get("Mode") == "MultiModel":
            (self.base / "models").mkdir(parents=True)
        else:
            model_data.fetch(objects, self._record, self.base / "model", limit)
        for source in self._record.get("AdditionalModelDataSources", ()):
            directory = self.base / "additional-model-data-sources" / source["ChannelName"]
            model_data.fetch_source(objects, source["S3DataSource"], directory, limit)

    def give_back(self) -> None:
        for port in self._ports:
            self._launcher.ports.give_back(port)


class Launcher:
    """Makes instances, each with a directory of its own below `DIR/instances`."""

    def __init__(
        self,
        directory: Path,
        objects: ObjectStore,
        aws_environment: Mapping[str, str],
        command: Callable[[Path], list[str]] = containers.stack_command,
        docker: Docker | None = None,
    ) -> None:
        """`aws_environment` is what a container needs to find this emulator as AWS; it is not isolated from it.

        `command` is what runs an image of ours, given its run directory, `docker` what runs any other.
        """
        self.command = command
        self.docker = docker or Docker()
        self.objects = objects
        self.aws_environment = dict(aws_environment)
        self.ports = Ports()
        self.instances: set[Instance] = set()
        self._directory = directory
        dockers.sweep(self.docker, directory)
        containers.sweep(directory)
        directory.mkdir(parents=True)

    def instance(
        self, model: dict[str, Any], name: str, lines: Lines, environment: Mapping[str, str] | None = None
    ) -> Instance:
        """An instance of a model's record (CreateModel's request as it was stored).

        Args:
            model: a record of `State.models`.
            name: for failure reasons, as `production variant TFS`, `transform job JOB`.
            lines: called with each line that a container prints.
            environment: goes over the model's own, e.g. SAGEMAKER_BATCH.
        """
        records = container_definitions(model)
        directory = self._directory / secrets.token_hex(4)
        definitions = []
        for number, record in enumerate(records):
            definition = _Definition(self, record, directory / str(number), pipeline=len(records) > 1)
            definition.environment = {
                **(ISOLATED if model.get("EnableNetworkIsolation") else {}),
                **(environment or {}),
            }
            definitions.append(definition)
        instance = Instance(name, directory, definitions, lines, self.instances.discard)
        self.instances.add(instance)
        return instance

    def stop(self) -> None:
        """Stop every instance that nobody has stopped."""
        gevent.joinall([gevent.spawn(instance.stop) for instance in list(self.instances)])


def container_definitions(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a model's record, in order."""
    return [model["PrimaryContainer"]] if model.get("PrimaryContainer") else list(model.get("Containers", ()))
