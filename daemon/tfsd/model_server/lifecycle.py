"""The life of every version: waiting, loading, available, unloading, ended.

Owns the states and the references. A version is unloaded only when another one can serve (or none is wanted)
and nobody uses it. Never looks at the file system and never imports TensorFlow: how to load is handed in.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.flags import cpus

log = logging.getLogger(__name__)

#: (model, version, directory) -> servable with a close(); raises ServingError.
Load = Callable[[str, int, str], Any]


class State(enum.Enum):
    """The states that GetModelStatus reports; values as in ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Version:
    """One version of a model. Its fields belong to `Lifecycle`'s lock."""

    def __init__(self, model: str, number: int, path: str) -> None:
        self.model = model
        self.number = number
        self.path = path
        self.state = State.START
        self.error: ServingError | None = None
        self.servable: Any = None
        self.references = 0
        self.aspired = True
        self.tries = 0

    def __str__(self) -> str:
        return f"{{name: {self.model} version: {self.number}}}"


class Lifecycle:
    """All versions of all models."""

    def __init__(self, load: Load, max_retries: int, retry_seconds: float, load_threads: int) -> None:
        self._load = load
        self._max_retries = max(0, max_retries)
        self._retry_seconds = max(0.0, retry_seconds)
        self._load_threads = max(1, load_threads)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._versions: dict[str, dict[int, Version]] = {}
        #: Those that can serve, the newest of a model under None too; `_reconcile` keeps it.
        self._available: dict[str, dict[int | None, Version]] = {}
        # The first models are loaded by many threads, as the real server does: nobody is served yet.
        self._loaders = ThreadPoolExecutor(4 * cpus(), "load")
        self._unloader = ThreadPoolExecutor(1, "unload")
        self._timers: set[threading.Timer] = set()
        self._closed = False

    def started(self) -> None:
        """The first models are there: from now on load with `load_threads` threads."""
        with self._changed:
            old, self._loaders = self._loaders, ThreadPoolExecutor(self._load_threads, "load")
        old.shutdown(wait=False)

    def close(self) -> None:
        """Give up on whatever is still loading. Nothing is unloaded: the process is about to end."""
        with self._changed:
            self._closed = True
            timers, self._timers = self._timers, set()
            self._changed.notify_all()
        for timer in timers:
            timer.cancel()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._unloader.shutdown(wait=False, cancel_futures=True)

    def aspire(self, model: str, versions: Mapping[int, str]) -> None:
        """Say which versions (number -> directory) of a model shall be served; the others go."""
        with self._changed:
            known = self._versions.setdefault(model, {})
            for number, path in versions.items():
                version = known.get(number)
                if version is None or (version.state is State.END and not version.aspired):
                    known[number] = Version(model, number, path)
                else:
                    version.aspired = True
                    version.path = path
            for number, version in known.items():
                version.aspired = number in versions
            if not known:
                del self._versions[model]
            self._reconcile(model)

    def acquire(self, model: str, number: int | None) -> Version | None:
        """The available version asked for (None: the newest), referenced until `release`; None if there is none."""
        with self._lock:  # for each request: a condition's methods are Python
            known = self._available.get(model)
            version = None if known is None else known.get(number)
            if version is not None:
                version.references += 1
            return version

    def release(self, version: Version) -> None:
        """Give back what `acquire` gave."""
        with self._lock:
            version.references -= 1
            if not version.references and version.state is State.UNLOADING:
                self._unloader.submit(self._unload, version)

    def states(self, model: str) -> list[tuple[int, State, ServingError | None]]:
        """Every version ever seen of a model, newest first, with the error that ended it."""
        with self._changed:
            known = self._versions.get(model, {})
            return [(n, known[n].state, known[n].error) for n in sorted(known, reverse=True)]

    def available(self) -> set[tuple[str, int]]:
        """The (model, version) pairs that can serve."""
        with self._changed:
            return {
                (version.model, version.number)
                for known in self._available.values()
                for version in known.values()
            }

    def wait_available(
        self,
        models: Collection[str],
        cancelled: Callable[[], bool] = lambda: False,
        what: str = "servable(s)",
    ) -> None:
        """Wait until each model has a version that can serve and has tried its other versions once.

        One version that cannot be loaded is too many, whatever its model has beside it, as in the real server.

        Args:
            what: the error's word for what did not become available.
        Raises ServingError: UNKNOWN, a version has failed for good; CANCELLED.
        """

        def waiting() -> list[str]:
            failed = [version for model in models if (version := self._failed_version(model))]
            if failed:
                errors = "".join(f"{{{version} due to error: {version.error}}}, " for version in failed)
                text = f"{len(failed)} {what} did not become available: {{{errors}}}"
                raise ServingError(Code.UNKNOWN, text)
            return [model for model in models if not self._is_tried(model)]

        self._wait(waiting, cancelled)

    def wait_tried(self, models: Collection[str], cancelled: Callable[[], bool] = lambda: False) -> None:
        """Wait until each model has versions and has tried to load them. Raises ServingError: CANCELLED."""
        self._wait(lambda: [model for model in models if not self._is_tried(model)], cancelled)

    def _wait(self, waiting: Callable[[], list[str]], cancelled: Callable[[], bool]) -> None:
        """Wait until no model is waiting; asked with the lock held."""
        with self._changed:
            while names := waiting():
                if self._closed or cancelled():
                    raise ServingError(Code.CANCELLED, f"Gave up waiting for models: {', '.join(names)}")
                self._changed.wait(0.5)

    def _aspired(self, model: str) -> list[Version]:
        return [version for version in self._versions.get(model, {}).values() if version.aspired]

    def _failed_version(self, model: str) -> Version | None:
        """The newest version of a model that has failed for good."""
        failed = [v for v in self._aspired(model) if v.state is State.END and v.error is not None]
        return max(failed, key=lambda version: version.number, default=None)

    def _is_tried(self, model: str) -> bool:
        """Whether all versions have been tried, and one of them can serve or all have failed for good."""
        aspired = self._aspired(model)
        return all(version.tries for version in aspired) and (
            any(version.state is State.AVAILABLE for version in aspired)
            or (bool(aspired) and all(version.state is State.END for version in aspired))
        )

    def _reconcile(self, model: str) -> None:
        """Start what must be loaded, stop what may go. The lock is held."""
        known = self._versions.get(model, {})
        aspired = self._aspired(model)
        may_unload = not aspired or any(version.state is State.AVAILABLE for version in aspired)
        for number in sorted(known, reverse=True):
            version = known[number]
            if version.aspired and version.state is State.START:
                version.state = State.LOADING
                self._submit_load(version)
            elif not version.aspired and version.state is State.AVAILABLE and may_unload:
                version.state = State.UNLOADING
                log.info("Quiescing servable version %s", version)
                if not version.references:
                    self._unloader.submit(self._unload, version)
        self._note_available(model)
        self._changed.notify_all()

    def _note_available(self, model: str) -> None:
        available: dict[int | None, Version] = {
            number: version
            for number, version in self._versions.get(model, {}).items()
            if version.state is State.AVAILABLE
        }
        if available:
            available[None] = max(available.values(), key=lambda version: version.number)
            self._available[model] = available
        else:
            self._available.pop(model, None)

    def _submit_load(self, version: Version) -> None:
        if not self._closed:
            self._loaders.submit(self._try_load, version)

    def _try_load(self, version: Version) -> None:
        """One try to load, on a loader thread."""
        servable, error = None, None
        if version.aspired:
            log.info("Loading servable version %s from %s", version, version.path)
            started = time.monotonic()
            try:
                servable = self._load(version.model, version.number, version.path)
            except ServingError as failure:
                error = failure
            except Exception as failure:
                log.exception("Loading servable: %s failed", version)
                error = ServingError(Code.INTERNAL, f"{type(failure).__name__}: {failure}")
            else:
                seconds = time.monotonic() - started
                log.info("Successfully loaded servable version %s in %.2f s", version, seconds)
        with self._changed:
            version.tries += 1
            version.servable = servable
            if servable is not None:
                version.state = State.AVAILABLE
            else:
                self._failed(version, error)
            self._reconcile(version.model)

    def _failed(self, version: Version, error: ServingError | None) -> None:
        """Try again later, or give up. The lock is held."""
        again = version.aspired and error is not None and version.tries <= self._max_retries
        if error is not None:
            then = f"try {version.tries + 1} in {self._retry_seconds:g} s" if again else "giving up"
            log.error("Loading servable: %s failed: %s (%s)", version, error, then)
        if again and not self._closed:
            timer = threading.Timer(self._retry_seconds, self._retry, [version])
            timer.daemon = True
            self._timers.add(timer)
            timer.start()
        else:
            version.state = State.END
            version.error = error

    def _retry(self, version: Version) -> None:
        with self._changed:
            self._timers = {timer for timer in self._timers if timer.is_alive()}
            self._submit_load(version)

    def _unload(self, version: Version) -> None:
        servable, version.servable = version.servable, None
        try:
            servable.close()
        except Exception:
            log.exception("Unloading servable: %s failed", version)
        else:
            log.info("Done unloading servable version %s", version)
        with self._changed:
            version.state = State.END
            if version.aspired:  # again, since its unloading began
                self._versions[version.model][version.number] = Version(
                    version.model, version.number, version.path
                )
            self._reconcile(version.model)
