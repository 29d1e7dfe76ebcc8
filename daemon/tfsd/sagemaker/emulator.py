"""The emulator: the collaborators that every action needs, made once when the server starts and handed on.

Owns their life (start, restore, stop). What they do is theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Group
from moto.backends import get_backend

from tfsd.sagemaker.asynchronous.notifications import Topics
from tfsd.sagemaker.asynchronous.queue import AsyncInference
from tfsd.sagemaker.endpoints.alarms import Alarms
from tfsd.sagemaker.endpoints.endpoints import Endpoints
from tfsd.sagemaker.instances.container import stack_command
from tfsd.sagemaker.instances.docker import Docker
from tfsd.sagemaker.instances.instance import Launcher
from tfsd.sagemaker.invocations.data_capture import DataCapture
from tfsd.sagemaker.invocations.metrics import Metrics
from tfsd.sagemaker.log_streams import LogStreams
from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.other_services import OtherServices
from tfsd.sagemaker.state import ACCOUNT, State
from tfsd.sagemaker.transform.progress import Display
from tfsd.sagemaker.transform.transforms import Transforms

PARTITION = "aws"

log = logging.getLogger(__name__)


class Emulator:
    """`launcher` starts instances of models, `objects` is S3, `log_streams` is CloudWatch Logs."""

    def __init__(
        self,
        directory: Path,
        aws_environment: dict[str, str],
        display: Display,
        command: Callable[[Path], list[str]] = stack_command,
        docker: Docker | None = None,
    ) -> None:
        """Everything lies below `directory`. `aws_environment` makes containers find this emulator as AWS.

        `command` is what runs an image of ours, `docker` what runs any other.
        """
        self.state = State(directory / "state")
        self.objects = ObjectStore(directory / "s3", get_backend("s3")[ACCOUNT][PARTITION])
        self.log_streams = LogStreams(get_backend("logs"), ACCOUNT)
        self.launcher = Launcher(directory / "instances", self.objects, aws_environment, command, docker)
        alarms = Alarms(get_backend("cloudwatch"), ACCOUNT)
        self.endpoints = Endpoints(self.state, self.launcher, self.log_streams, alarms)
        self.other_services = OtherServices(self.objects)
        self._background = Group()
        self.metrics = Metrics(get_backend("cloudwatch"), ACCOUNT)
        self.data_capture = DataCapture(self.objects)
        self.transforms = Transforms(
            self.state, self.launcher, self.objects, self.log_streams, display, self.spawn
        )
        topics = Topics(get_backend("sns"), ACCOUNT)
        self.asynchronous = AsyncInference(
            self.endpoints.find, self.objects, topics, self.metrics, self.spawn
        )

    def restore(self) -> None:
        """After a restart: start again what was there."""
        self.transforms.restore()
        self.endpoints.restore()

    def stop(self) -> None:
        """Stop everything that runs; what is on disk stays for the next start."""
        self._background.kill()
        self.endpoints.stop()
        self.launcher.stop()
        self.data_capture.store()

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet:
        """Run `function` beside the requests; what it raises is logged. Killed when the server stops."""
        greenlet = gevent.spawn(_logged, function, *arguments)
        self._background.add(greenlet)
        return greenlet


def _logged(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception:
        log.exception("%s failed.", getattr(function, "__qualname__", function))
