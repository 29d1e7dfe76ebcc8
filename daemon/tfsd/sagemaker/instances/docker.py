"""Containers that are not ours: run by Docker's client, with a model's directories below /opt/ml as on the platform.

Owns how the client is called. Whether an image is run so is `Docker.runs`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import gevent
from gevent import subprocess

from tfsd.sagemaker.instances import images
from tfsd.sagemaker.instances.container import STOP_SECONDS, Container, Lines

INSIDE = PurePosixPath("/opt/ml")
PORT_INSIDE = 8080
CLIENT_SECONDS = 20
NAME_FILE = "docker-name"


@dataclasses.dataclass(frozen=True)
class Docker:
    """Docker's client. With `everything`, the images that our stack stands for are run by it too."""

    client: tuple[str, ...] = ("docker",)
    everything: bool = False

    def runs(self, image: str) -> bool:
        """Whether an image is run by Docker, and not as our stack."""
        return self.everything or not images.is_ours(image)

    def missing(self) -> str | None:
        """Why no container can be run here, or None."""
        if not shutil.which(self.client[0]):
            return "there is no docker on this machine"
        try:
            done = self._call("info", "--format", "{{json .ServerErrors}}")
        except subprocess.TimeoutExpired:
            return f"`docker info` does not answer within {CLIENT_SECONDS} s"
        return (
            None if done.returncode == 0 else "there is no docker engine running that answers `docker info`"
        )

    def stop(self, name: str) -> bool:
        """SIGTERM, SIGKILL after 30 s. Whether there was such a container."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait = STOP_SECONDS + CLIENT_SECONDS
            return self._call("stop", "--time", str(STOP_SECONDS), name, seconds=wait).returncode == 0
        return False

    def remove(self, name: str) -> None:
        """Kill a container, if it is there, and remove it."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._call("rm", "--force", name)

    def _call(self, *words: str, seconds: float = CLIENT_SECONDS) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self.client, *words], capture_output=True, timeout=seconds)


class DockerContainer(Container):
    """A container of Docker's, whose process here is the client that follows its log and ends with it."""

    def __init__(
        self, docker: Docker, image: str, directory: Path, environment: Mapping[str, str], port: int
    ) -> None:
        """What lies in `directory/ml` when it starts is below /opt/ml inside; `port` leads to 8080 there."""
        super().__init__([*docker.client, "run"], directory, directory, os.environ, port)
        self.name = f"tfsd-sagemaker-{uuid.uuid4().hex[:12]}"
        self._docker, self._image, self._inside = docker, image, dict(environment)

    def start(self, lines: Lines) -> None:
        (self.directory / NAME_FILE).write_text(self.name)
        self._command += ["--rm", "--name", self.name, *self._options(), self._image, "serve"]
        super().start(lines)

    def path_inside(self, path: Path) -> str:
        return str(INSIDE / path.relative_to(self.directory / "ml"))

    def _options(self) -> Iterator[str]:
        yield from ("--publish", f"127.0.0.1:{self.port}:{PORT_INSIDE}")
        for directory in sorted((self.directory / "ml").iterdir()):
            yield from ("--volume", f"{directory}:{INSIDE / directory.name}:ro")
        for name, value in self._inside.items():
            yield from ("--env", f"{name}={value}")

    def _ask_to_end(self) -> None:
        if not self._docker.stop(self.name):  # the image may still be on its way
            super()._ask_to_end()

    def stop(self) -> None:
        super().stop()
        if self.pid:
            self._docker.remove(self.name)


def sweep(docker: Docker, directory: Path) -> None:
    """Remove the containers that a killed server has left running, whose directories are below `directory`."""
    names = [path.read_text() for path in directory.glob(f"*/*/{NAME_FILE}")]
    gevent.joinall([gevent.spawn(docker.remove, name) for name in names])
