"""Loading a SavedModel version into a Session, with batching and warm-up as configured.

Never retries: `lifecycle` does.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from tfsd.model_server.batching.parameters import BatchParameters, from_proto
from tfsd.model_server.batching.queues import BatchThreads
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.protos import message_class, read_text_proto
from tfsd.model_server.runtime import calls, tf, warmup
from tfsd.model_server.runtime.load_errors import load_error
from tfsd.model_server.runtime.session import SessionServable

log = logging.getLogger(__name__)

BATCH_FILE = "batching_params.pbtxt"  # of a version's directory, with --enable_per_model_batching_parameters


@dataclass(frozen=True)
class LoadOptions:
    """How models are loaded.

    Attributes:
        tags: of the meta graph.
        session_config: a `ConfigProto`.
        batch_threads: None without batching.
        batching: the parameters of all models; None without batching.
        per_model_batching: read each version's own parameters instead; without a file it is not batched.
        check_method_names: --enable_signature_method_name_check.
        warmup_iterations: how often each warm-up request is replayed; 0 switches warm-up off.
        rest_timeout_ms: the time limit of requests over REST, so that warm-up prepares for them; None without REST.
    """

    tags: tuple[str, ...] = ("serve",)
    session_config: Any = field(default_factory=tf.ConfigProto)
    batch_threads: BatchThreads | None = None
    batching: BatchParameters | None = None
    per_model_batching: bool = False
    check_method_names: bool = False
    warmup_iterations: int = 1
    rest_timeout_ms: int | None = None


class Loader:
    """Loads versions (see `lifecycle.Load`)."""

    def __init__(self, options: LoadOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics

    def __call__(self, name: str, version: int, path: str) -> SessionServable:
        """Load one version and replay its warm-up requests.

        Raises ServingError: DATA_LOSS, NOT_FOUND or what TensorFlow says.
        """
        batching = self._batching(path)
        session, meta_graph = self._open(path)
        servable = SessionServable(
            name,
            version,
            session,
            dict(meta_graph.signature_def),
            self._metrics,
            batching,
            self._options.check_method_names,
            calls.is_bounded(meta_graph.graph_def),
        )
        try:
            if self._options.warmup_iterations:
                started = time.perf_counter()
                warmup.replay(servable, path, self._options.warmup_iterations, self._options.rest_timeout_ms)
                self._metrics.warmup_latency.add((time.perf_counter() - started) * 1e6, (path, "OK"))
        except BaseException:
            servable.close()
            raise
        return servable

    def _batching(self, path: str) -> tuple[BatchThreads, BatchParameters] | None:
        options = self._options
        if options.batch_threads is None or options.batching is None:
            return None
        parameters = options.batching
        if options.per_model_batching:
            file = f"{path}/{BATCH_FILE}"
            if not tf.exists(file):
                return None
            proto = read_text_proto(file, message_class("BatchingParameters")())
            parameters = from_proto(proto)
        parameters.check()
        return options.batch_threads, parameters

    def _open(self, path: str) -> tuple[Any, Any]:
        """A Session, and the MetaGraphDef in it."""
        started = time.perf_counter()
        graph = tf.Graph()
        session = tf.Session(graph=graph, config=self._options.session_config)
        try:
            with graph.as_default():
                meta_graph = tf.load_saved_model(session, list(self._options.tags), path)
        except Exception as error:
            session.close()
            self._metrics.loaded(path, None)
            raise load_error(error, path, self._options.tags) from None
        self._metrics.loaded(path, time.perf_counter() - started)
        return session, meta_graph


def list_directory(path: str) -> list[str] | None:
    """The names in a directory on any file system that TensorFlow knows; None when there is none."""
    try:
        return tf.listdir(path)
    except tf.errors.NotFoundError:
        return None
