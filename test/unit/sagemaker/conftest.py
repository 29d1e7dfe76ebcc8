"""The API in this process: botocore's own clients, whose requests go to the WSGI application instead of a socket."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gevent
import pytest

boto3 = pytest.importorskip("boto3")

from botocore.awsrequest import AWSPreparedRequest, AWSResponse  # noqa: E402
from botocore.config import Config  # noqa: E402

from support import fake_docker, stub_container  # noqa: E402
from tfsd.sagemaker.emulator import Emulator  # noqa: E402
from tfsd.sagemaker.instances.docker import Docker  # noqa: E402
from tfsd.sagemaker.server import Application  # noqa: E402
from tfsd.sagemaker.transform.progress import Display  # noqa: E402

IMAGE = "520713654638.dkr.ecr.us-west-2.amazonaws.com/sagemaker-tensorflow-serving:1.12.0-cpu"
ROLE = "arn:aws:iam::123456789012:role/SageMakerRole"


class Raw:
    """What botocore reads an answer from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def stream(self, amount: int = 0) -> Iterator[bytes]:
        yield from self._pieces

    def read(self, amount: int | None = None) -> bytes:
        return b"".join(self._pieces)


class Clients:
    """boto3's clients, each made once for all tests: that takes longer than most of what they are asked.

    Their requests go to `send`, which belongs to the test that runs.
    """

    def __init__(self) -> None:
        self.send: Callable[[AWSPreparedRequest], AWSResponse] | None = None
        self._session = boto3.Session()
        self._made: dict[str, Any] = {}

    def get(self, service: str, **config: Any) -> Any:
        key = f"{service} {config}"
        if key not in self._made:
            self._made[key] = self._make(service, **config)
        return self._made[key]

    def _make(self, service: str, **config: Any) -> Any:
        client = self._session.client(
            service,
            region_name="us-west-2",
            endpoint_url="http://localhost:4566",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        client.meta.events.register("before-send.*.*", self._send)
        return client

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        assert self.send is not None
        return self.send(request)


CLIENTS = Clients()


class Api:
    """Clients of an emulator whose containers are stubs. One at a time: the clients are shared."""

    def __init__(self, directory: Path, everything_by_docker: bool = False) -> None:
        self.everything_by_docker = everything_by_docker
        self.directory = directory
        self.engine = directory / "docker-engine"  # runs once this is there
        self.emulator = self._emulator()
        self.application = Application(self.emulator)
        CLIENTS.send = self._send

    def _emulator(self) -> Emulator:
        command = [sys.executable, "-S", stub_container.__file__]
        return Emulator(
            self.directory,
            {},
            Display(io.StringIO()),
            lambda run_dir: [*command, str(run_dir)],
            Docker((sys.executable, fake_docker.__file__, str(self.engine)), self.everything_by_docker),
        )

    def client(self, service: str, **config: Any) -> Any:
        return CLIENTS.get(service, **config)

    def _send(self, request: AWSPreparedRequest) -> AWSResponse:
        url = urlsplit(request.url)
        body = request.body or b""
        body = body.read() if hasattr(body, "read") else body
        body = body.encode() if isinstance(body, str) else body
        environ = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": unquote(url.path, encoding="latin-1"),
            "QUERY_STRING": url.query,
            "REQUEST_URI": f"{url.path}?{url.query}" if url.query else url.path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "4566",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost:4566",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(bytes(body)),
            "wsgi.errors": sys.stderr,
        }
        for name, value in request.headers.items():
            text = value.decode() if isinstance(value, bytes) else value
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = text
        environ["CONTENT_LENGTH"] = str(len(body))
        started: list[Any] = []
        answer = self.application(environ, lambda status, headers, *_: started.extend([status, headers]))
        status, headers = started
        return AWSResponse(request.url, int(status.split()[0]), dict(headers), Raw(iter(answer)))

    def make_model(self, name: str, image: str = IMAGE, isolated: bool = False, **environment: str) -> None:
        """A model whose container is a stub with this environment."""
        self.put("models", f"{name}.tar.gz", archive(name))
        self.client("sagemaker").create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            EnableNetworkIsolation=isolated,
            PrimaryContainer={
                "Image": image,
                "ModelDataUrl": f"s3://models/{name}.tar.gz",
                "Environment": environment,
            },
        )

    def put(self, bucket: str, key: str, body: bytes) -> None:
        s3 = self.client("s3")
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket=bucket, Key=key, Body=body)

    def make_config(self, name: str, *variants: dict[str, Any], **more: Any) -> None:
        """An endpoint configuration; a variant needs its ModelName only."""
        self.client("sagemaker").create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant(**given) for given in variants], **more
        )

    def make_endpoint(self, name: str, *variants: dict[str, Any], **more: Any) -> None:
        """An endpoint that is in service."""
        self.make_config(name, *variants, **more)
        self.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
        assert self.describe(name)["EndpointStatus"] == "InService"

    def describe(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = self.client("sagemaker").describe_endpoint(EndpointName=name)
        return described

    def invoke(self, name: str, body: bytes = b"hello", **more: Any) -> dict[str, Any]:
        """What the stub says that it was asked."""
        answer = self.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **more)
        said: dict[str, Any] = json.loads(answer["Body"].read())
        return said

    def restart(self) -> None:
        """Stop the emulator and start another one in the same directory. moto forgets everything."""
        from moto.backends import get_backend

        self.emulator.stop()
        for service in ("s3", "logs", "iam"):
            get_backend(service).reset()
        self.emulator = self._emulator()
        self.application = Application(self.emulator)
        self.emulator.restore()


def variant(**given: Any) -> dict[str, Any]:
    machines = (
        {} if "ServerlessConfig" in given else {"InstanceType": "ml.c5.xlarge", "InitialInstanceCount": 1}
    )
    return {"VariantName": given["ModelName"], **machines, **given}


def archive(text: str) -> bytes:
    """A model.tar.gz with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended may still be there for its parent to see. While one thread is left, its
    sockets are open."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Let the emulator work until it is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"{what} does not come true"
        gevent.sleep(0.02)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    from moto.backends import get_backend

    api = Api(tmp_path)
    yield api
    api.emulator.stop()
    for service in ("s3", "logs", "iam", "cloudwatch", "sns"):
        get_backend(service).reset()
