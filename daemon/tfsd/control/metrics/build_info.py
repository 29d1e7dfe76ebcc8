"""What runs here: the versions that `tfsd_build_info` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import gevent

from tfsd import __version__
from tfsd.stack.model_server_flags import is_embedded

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-cpu-aws")
VERSION_SECONDS = 20
PATIENCE_SECONDS = 2


class BuildInfo:
    """Finds the versions out when they are first wanted, and has that scrape wait a little for a slow model server."""

    def __init__(self, model_server_command: Sequence[str]) -> None:
        self._command = list(model_server_command)
        self._embedded = is_embedded(self._command)
        self._asking: gevent.Greenlet[[], None] | None = None
        self._versions = {
            "version": __version__,
            "tensorflow": "",
            "model_server": "embedded" if self._embedded else "tensorflow_model_server",
            "model_server_version": __version__ if self._embedded else "",
        }

    def metrics(self) -> Iterator[Metric]:
        """`tfsd_build_info`, always 1; what is not known is an empty label."""
        from prometheus_client.core import GaugeMetricFamily

        if self._asking is None:
            self._asking = gevent.spawn(self._ask)
        self._asking.join(PATIENCE_SECONDS)
        info = GaugeMetricFamily(
            "tfsd_build_info", "Versions of what runs here.", labels=list(self._versions)
        )
        info.add_metric(list(self._versions.values()), 1)
        yield info

    def _ask(self) -> None:
        if self._embedded:
            self._versions["tensorflow"] = _installed_tensorflow()
            return
        from gevent import subprocess

        try:
            said = subprocess.run(
                [*self._command, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=VERSION_SECONDS,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return
        self._versions["model_server_version"] = _after("TensorFlow ModelServer:", said)
        self._versions["tensorflow"] = _after("TensorFlow Library:", said)


def _after(name: str, text: str) -> str:
    found = re.search(re.escape(name) + r"\s*(\S+)", text)
    return found[1] if found else ""


def _installed_tensorflow() -> str:
    import importlib.metadata  # which a model server of its own makes needless

    for name in TENSORFLOW:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
