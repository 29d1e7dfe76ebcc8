"""Watching the models' directories: tells the lifecycle which versions shall be served. Never loads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from tfsd.model_server.errors import ServingError
from tfsd.model_server.versions import ListDirectory, ModelConfig, find_versions

log = logging.getLogger(__name__)

_REPEAT_AFTER = 60  # polls: a complaint that stays true is repeated so seldom


class VersionSource:
    """Polls the base paths of the models of the current configuration.

    Args:
        aspire: told (model, version -> directory) for every model at every poll.
        poll_seconds: time between two polls. 0 polls once, when there is a configuration for the first time: a
            model that comes later is never looked for, as in the real server. Negative never polls.
    """

    def __init__(
        self,
        aspire: Callable[[str, Mapping[int, str]], None],
        list_directory: ListDirectory,
        poll_seconds: int,
    ) -> None:
        self._aspire = aspire
        self._list_directory = list_directory
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._models: dict[str, ModelConfig] = {}
        self._polled = False
        self._complaints: dict[str, tuple[str, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="version-source", daemon=True)

    def start(self) -> None:
        """Begin to poll, if the interval says so."""
        if self._poll_seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def set_models(self, configs: list[ModelConfig]) -> None:
        """Watch these models from now on, and let go of all others.

        The real server looks for new models at its next poll, up to `poll_seconds` later; this one at once.
        """
        with self._lock:
            wanted = {config.name: config for config in configs}
            for name in self._models.keys() - wanted.keys():
                log.info("Model %s is no longer configured", name)
                self._aspire(name, {})
            if wanted != self._models:
                self._complaints.clear()
            self._models = wanted
            if self._poll_seconds > 0 or (self._poll_seconds == 0 and not self._polled):
                self._poll()

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            with self._lock:
                self._poll()

    def _poll(self) -> None:
        self._polled = True
        for config in self._models.values():
            try:
                found = find_versions(config, self._list_directory)
            except ServingError as error:
                text = f"FileSystemStoragePathSource encountered a filesystem access error: {error.message}"
                self._complain(config.name, text)
                continue
            except Exception as error:  # a file system that is away for a while must not end the polling
                self._complain(config.name, f"Cannot list {config.base_path} of model {config.name}: {error}")
                continue
            self._complain(config.name, "; ".join(found.warnings))
            self._aspire(config.name, found.versions)

    def _complain(self, model: str, text: str) -> None:
        last, times = self._complaints.get(model, ("", 0))
        times = times + 1 if text == last else 0
        self._complaints[model] = (text, times)
        if text and times % _REPEAT_AFTER == 0:
            log.warning("%s", text)
