"""A real local SageMaker in a directory of its own, on a free port, and boto3's clients for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import botocore.config

from support.stack import end_with_parent
from tfsd.stack.ports import allocate

START_SECONDS = 90
STOP_SECONDS = 60
WAIT_SECONDS = 180
IMAGE = "520713654638.dkr.ecr.us-west-2.amazonaws.com/sagemaker-tensorflow-serving:1.12.0-cpu"
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole"
REGION = "us-west-2"


class LocalSageMaker:
    """`python -m tfsd.sagemaker`. A context manager: ready inside, gone with all that it started after.

    `directory` is for its data, its log and archives; `environ` goes over the environment of the tests, `arguments` are
    the program's besides.
    """

    def __init__(
        self, directory: Path, environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self._more, self._arguments = dict(environ or {}), arguments
        self.port = allocate(1)[0]
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What it prints to be exported, besides the rest of the environment."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SAGEMAKER_", "AWS_"))
        }
        return {
            **kept,
            **self._more,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: str, **settings: Any) -> Any:
        """boto3's client of a service, which tries nothing again; `settings` are botocore's."""
        config = botocore.config.Config(retries={"max_attempts": 0}, read_timeout=120, **settings)
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=config,
        )

    def __enter__(self) -> LocalSageMaker:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "tfsd.sagemaker", "--data", str(self.directory / "data")]
        before = self.log_text().count("ready;")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--region", REGION, *self._arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        end = time.monotonic() + START_SECONDS
        while self.log_text().count("ready;") == before:
            assert self.process.poll() is None, f"local SageMaker ended:\n{self.log_text()}"
            assert time.monotonic() < end, f"local SageMaker does not start:\n{self.log_text()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, as Ctrl-C; nothing that it started may be left."""
        assert self.process
        children = self.processes()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        left = {pid: words for pid, words in children.items() if Path(f"/proc/{pid}").exists()}
        assert not left, f"left behind: {left}\n{self.log_text()}"

    def kill(self) -> None:
        """SIGKILL: what it started may live on for a while."""
        assert self.process
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def exports(self) -> dict[str, str]:
        """The variables that it prints for the user's shell."""
        line = next(line for line in self.log_text().splitlines() if line.startswith("export "))
        return dict(word.split("=", 1) for word in line.split()[1:])

    def processes(self) -> dict[int, str]:
        """Command lines of every process below the server, by process id."""
        assert self.process
        parents, words = {}, {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(directory.name)
                parents[pid] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
                line = (directory / "cmdline").read_bytes().decode("utf-8", "replace")
                words[pid] = line.replace("\0", " ")
        found: dict[int, str] = {}
        new = {self.process.pid}
        while new:
            new = {pid for pid, parent in parents.items() if parent in new}
            found.update({pid: words[pid] for pid in new if pid in words})
        return found

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def make_bucket(self, name: str) -> None:
        s3 = self.client("s3")
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def create_model(
        self, name: str, model_dir: Path, isolated: bool = False, image: str = IMAGE, **environment: str
    ) -> None:
        """Make a model of a directory's contents, by way of an archive in S3.

        Its stacks have one worker unless `environment` says otherwise: how many there are is none of SageMaker's
        concern, and each takes almost half a second of CPU to start.
        """
        self.make_bucket("models")
        archive = self.directory / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1, dereference=True) as tar:
            for path in sorted(model_dir.iterdir()):
                tar.add(path, path.name)
        self.client("s3").upload_file(str(archive), "models", f"{name}/model.tar.gz")
        self.client("sagemaker").create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            EnableNetworkIsolation=isolated,
            PrimaryContainer={
                "Image": image,
                "ModelDataUrl": f"s3://models/{name}/model.tar.gz",
                "Environment": {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environment},
            },
        )

    def serve(self, name: str, *variants: dict[str, Any], **more: Any) -> None:
        """Make an endpoint of these variants (see `variant`), and wait until it is in service."""
        client = self.client("sagemaker")
        client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **more)
        client.create_endpoint(EndpointName=name, EndpointConfigName=name)
        client.get_waiter("endpoint_in_service").wait(EndpointName=name)

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint, and wait until nothing of it is left."""
        client = self.client("sagemaker")
        client.delete_endpoint(EndpointName=name)
        client.get_waiter("endpoint_deleted").wait(EndpointName=name)


def variant(model: str, **more: Any) -> dict[str, Any]:
    """A ProductionVariant that is named like its model, with one machine unless it is serverless."""
    machines = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    return {
        "VariantName": model,
        "ModelName": model,
        **({} if "ServerlessConfig" in more else machines),
        **more,
    }


def failing_job(name: str, **more: Any) -> dict[str, Any]:
    """CreateTransformJob's request for a job of the model `model` whose bucket is not there."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://no-such-bucket/in"}}
    return {
        "TransformJobName": name,
        "ModelName": "model",
        "TransformInput": {"DataSource": source},
        "TransformOutput": {"S3OutputPath": "s3://no-such-bucket/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    }


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Ask again and again until it is so."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} does not come true"
        time.sleep(0.2)
