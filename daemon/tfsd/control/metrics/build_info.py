"""What runs here: the versions that `tfsd_build_info` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tfsd import __version__
from tfsd.stack.model_server_flags import is_embedded

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-cpu-aws")
VERSION_SECONDS = 2


class BuildInfo:
    """Finds the versions out when they are first wanted, which takes a model server longer than a scrape else does."""

    def __init__(self, model_server_command: Sequence[str]) -> None:
        self._command = list(model_server_command)

    def metrics(self) -> Iterator[Metric]:
        """`tfsd_build_info`, always 1; what is not known is an empty label."""
        from prometheus_client.core import GaugeMetricFamily

        labels = {"version": __version__, **self._of_model_server}
        info = GaugeMetricFamily("tfsd_build_info", "Versions of what runs here.", labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        yield info

    @cached_property
    def _of_model_server(self) -> Mapping[str, str]:
        if is_embedded(self._command):
            return {
                "tensorflow": _installed_tensorflow(),
                "model_server": "embedded",
                "model_server_version": __version__,
            }
        said = self._said()
        return {
            "tensorflow": _after("TensorFlow Library:", said),
            "model_server": "tensorflow_model_server",
            "model_server_version": _after("TensorFlow ModelServer:", said),
        }

    def _said(self) -> str:
        """What the model server says of itself; nothing when it says nothing within VERSION_SECONDS."""
        from gevent import subprocess

        try:
            return str(
                subprocess.run(
                    [*self._command, "--version"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=VERSION_SECONDS,
                ).stdout
            )
        except (OSError, subprocess.SubprocessError):
            return ""


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
