"""Docker on this machine: whether there is an engine, which docker-compose there is, and endpoints run by it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tfsd.stack.ports import allocate

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker" / "docker-compose.yml"
START_SECONDS = 120  # TensorFlow loads in 6 s, on a busy machine of one core in 30
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@functools.cache
def missing_engine() -> str | None:
    """Why no container can be run here, or None."""
    if not shutil.which("docker"):
        return "there is no docker on this machine"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True)
    return None if done.returncode == 0 else "there is no docker engine running that answers `docker info`"


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """Compose v2 where it is installed, else docker-compose 1 (which needs to be told to keep limits)."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ("docker", "compose")
    return ("docker-compose", "--compatibility") if shutil.which("docker-compose") else None


def docker(*words: str) -> str:
    """Run docker and return what it prints. Fails with its error."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """`docker inspect` of an image or a container."""
    described: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return described


@dataclasses.dataclass
class Container:
    """A running container whose endpoint is at `port` of this machine."""

    name: str
    port: int
    session: requests.Session = dataclasses.field(default_factory=requests.Session)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=60, **more)

    def get(self, path: str) -> requests.Response:
        return self.request("GET", path)

    def invoke(self, body: Any, content_type: str = "application/json", **headers: str) -> requests.Response:
        """POST /invocations; `attributes` is the header of custom attributes, in others `_` stands for `-`."""
        names = {
            ATTRIBUTES if name == "attributes" else name.replace("_", "-"): headers[name] for name in headers
        }
        data = body.encode() if isinstance(body, str) else body
        return self.request(
            "POST", "/invocations", data=data, headers={"Content-Type": content_type, **names}
        )

    def run(self, *command: str) -> str:
        """What a command prints inside."""
        return docker("exec", self.name, *command)

    def log(self, lines: int = 40) -> str:
        done = subprocess.run(
            ["docker", "logs", "--tail", str(lines), self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = inspect(self.name)["State"]
        return state

    def wait_until_healthy(self, seconds: float = START_SECONDS) -> None:
        """Until docker's own health check says so. Fails with the end of the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state()
            assert state["Running"], f"{self.name} ended with {state['ExitCode']}:\n{self.log()}"
            if state["Health"]["Status"] == "healthy":
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.name} is not healthy after {seconds} s:\n{self.log()}")


class Composed(Container):
    """docker/docker-compose.yml for one model directory. A context manager: healthy inside, gone after.

    Args:
        directory: an empty one of this endpoint's own, for the file that is laid over docker-compose.yml.
        environ: SAGEMAKER_* variables of the container.
        memory: the limit, as docker writes it.
        volumes: further ones, as docker writes them.
    """

    def __init__(
        self,
        directory: Path,
        image: str,
        model_dir: Path,
        environ: Mapping[str, str] | None = None,
        memory: str = "3G",
        volumes: Sequence[str] = (),
    ):
        super().__init__(name="", port=allocate(1)[0])
        self.project = f"tfsd{uuid.uuid4().hex[:8]}"
        self.over = directory / "over.json"  # JSON is YAML
        over = {"environment": dict(environ or {}), "volumes": list(volumes)}
        self.over.write_text(json.dumps({"version": "3.8", "services": {"endpoint": over}}))
        self.variables = {
            "IMAGE": image,
            "MODEL_DIR": str(model_dir),
            "PORT": str(self.port),
            "SAGEMAKER_BIND_TO_PORT": (environ or {}).get("SAGEMAKER_BIND_TO_PORT", "8080"),
            "MEMORY": memory,
        }

    def compose(self, *words: str) -> str:
        command = compose_command()
        assert command, "there is neither docker-compose nor a compose plugin"
        files = ["--project-name", self.project, "--file", str(COMPOSE_FILE), "--file", str(self.over)]
        done = subprocess.run(
            [*command, *files, *words], capture_output=True, text=True, env=os.environ | self.variables
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def __enter__(self) -> Composed:
        try:
            self.compose("up", "--detach")
            # not by docker-compose, which is a second of Python
            self.name = docker(
                "ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
            )
            self.wait_until_healthy()
        except BaseException:
            with contextlib.suppress(AssertionError):
                self.down()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.down()

    def down(self) -> None:
        self.session.close()
        self.compose("down", "--volumes", "--timeout", "30")


StartEndpoint = Callable[..., Composed]
