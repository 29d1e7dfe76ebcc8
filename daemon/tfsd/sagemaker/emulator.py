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

from tfsd.sagemaker.call import ACCOUNT
from tfsd.sagemaker.endpoints.endpoints import Endpoints
from tfsd.sagemaker.instances.instance import Launcher
from tfsd.sagemaker.log_streams import LogStreams
from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.other_services import OtherServices
from tfsd.sagemaker.state import State

PARTITION = "aws"

log = logging.getLogger(__name__)


class Emulator:
    """`launcher` starts instances of models, `objects` is S3, `log_streams` is CloudWatch Logs."""

    def __init__(self, directory: Path, aws_environment: dict[str, str]) -> None:
        """Everything lies below `directory`. `aws_environment` makes containers find this emulator as AWS."""
        self.state = State(directory / "state")
        self.objects = ObjectStore(directory / "s3", get_backend("s3")[ACCOUNT][PARTITION])
        self.log_streams = LogStreams(get_backend("logs"), ACCOUNT)
        self.launcher = Launcher(directory / "instances", self.objects, aws_environment)
        self.endpoints = Endpoints(self.state, self.launcher, self.log_streams)
        self.other_services = OtherServices(self.objects)
        self._background = Group()

    def restore(self) -> None:
        """After a restart: start again what was there."""
        self.endpoints.restore()

    def stop(self) -> None:
        """Stop everything that runs; what is on disk stays for the next start."""
        self._background.kill()
        self.endpoints.stop()

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet:
        """Run `function` beside the requests; what it raises is logged. Killed when the server stops."""
        greenlet = gevent.spawn(_logged, function, *arguments)
        self._background.add(greenlet)
        return greenlet


def _logged(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception:
        log.exception("%s failed", getattr(function, "__qualname__", function))
