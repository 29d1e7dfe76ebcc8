"""Puts the parts together: core, gRPC, REST, configuration polling; starts, serves, drains.

Imports TensorFlow: only `__main__` imports this, after it has said so.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from tensorflow.core.protobuf import config_pb2

from tfsd.model_server.batching.queues import BatchThreads
from tfsd.model_server.core import ServerCore
from tfsd.model_server.errors import ServingError
from tfsd.model_server.lifecycle import Lifecycle
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.protos import read_text_proto
from tfsd.model_server.rpc.api import methods
from tfsd.model_server.rpc.http2_server import Http2Server
from tfsd.model_server.runtime import op_libraries, tf
from tfsd.model_server.runtime.loader import Loader, LoadOptions, list_directory
from tfsd.model_server.source import VersionSource
from tfsd.model_server.startup import Plan, read_model_server_config

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0


class Server:
    """The whole model server.

    Args:
        stopping: set when the process shall end; start-up and serving heed it.
    """

    def __init__(self, plan: Plan, stopping: threading.Event) -> None:
        self._plan = plan
        self._options = plan.options
        self._stopping = stopping
        self._metrics = Metrics()
        options = plan.options
        self._lifecycle = Lifecycle(
            Loader(_load_options(plan), self._metrics),
            options.max_num_load_retries,
            options.load_retry_interval_micros / 1e6,
            options.num_load_threads,
        )
        self._source = VersionSource(
            self._lifecycle.aspire, list_directory, options.file_system_poll_wait_seconds
        )
        self.core = ServerCore(
            self._lifecycle,
            self._source,
            options.allow_version_labels_for_unavailable_models,
            options.start_despite_load_errors,
        )
        self._grpc: Any = None
        self._rest: Any = None

    def start(self) -> None:
        """Load the models, then open the ports.

        Raises ServingError: an op library or a model cannot be loaded, a port cannot be opened; CANCELLED when
            told to stop.
        """
        op_libraries.load(filter(None, self._options.op_libraries.split(",")))
        self._source.start()
        self.core.reload_config(self._plan.model_server_config, self._stopping.is_set)
        self._lifecycle.started()
        if self._options.model_config_file and self._options.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="config-poll", daemon=True).start()
        self._start_grpc()
        self._start_rest()

    def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Take no more requests, and give those in flight so long to finish."""
        wait_for_grpc = self._grpc.stop(drain_seconds) if self._grpc is not None else lambda: None
        if self._rest is not None:
            self._rest.stop(drain_seconds)
        wait_for_grpc()
        self._source.stop()
        self._lifecycle.close()

    def _start_grpc(self) -> None:
        plan, options = self._plan, self._options
        served = methods(self.core, self._metrics, options.enable_serialization_as_tensor_content)
        if plan.needs_grpc_core:
            from tfsd.model_server.rpc.server import GrpcServer, credentials

            self._grpc = GrpcServer(
                served,
                plan.grpc_addresses,
                plan.grpc_threads,
                plan.grpc_limit,
                plan.grpc_arguments,
                credentials(plan.ssl_config) if plan.ssl_config is not None else None,
                options.enable_grpc_healthcheck_service,
            )
        else:
            self._grpc = Http2Server(served, plan.grpc_addresses, plan.grpc_threads, plan.grpc_limit)
        self._grpc.start()
        for address in plan.grpc_addresses:
            log.info("Running gRPC ModelServer at %s ...", address)

    def _start_rest(self) -> None:
        options = self._options
        port = options.rest_api_port
        if not port:
            return
        if port == options.port:
            log.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST "
                "API. Skipped exporting HTTP/REST API."
            )
            return
        from tfsd.model_server.rest.api import RestServer

        self._rest = RestServer(
            self.core,
            host=options.host,
            port=port,
            num_threads=self._plan.rest_threads,
            timeout_ms=options.rest_api_timeout_in_ms,
            cors=options.rest_api_enable_cors_support,
            prometheus_path=self._plan.prometheus_path,
            metrics=self._metrics,
        )
        try:
            self._rest.start()
        except OSError as error:
            self._rest = None
            log.error("Failed to start HTTP Server at localhost:%d: %s", port, error)
            return
        log.info("Exporting HTTP/REST API at:localhost:%d ...", port)

    def _poll_config(self) -> None:
        wait = self._options.model_config_file_poll_wait_seconds
        last = ""
        while not self._stopping.wait(wait):
            complaint = ""
            try:
                config = read_model_server_config(self._options)
                self.core.reload_config(config, wait=False)
            except ServingError as error:
                complaint = str(error)
            if complaint and complaint != last:
                log.error("Cannot reload %s: %s", self._options.model_config_file, complaint)
            last = complaint


def _load_options(plan: Plan) -> LoadOptions:
    options = plan.options
    session_config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        read_text_proto(options.tensorflow_session_config_file, session_config)
    if plan.intra_op or plan.inter_op or not options.tensorflow_session_config_file:
        session_config.intra_op_parallelism_threads = plan.intra_op
        session_config.inter_op_parallelism_threads = plan.inter_op
    fraction = options.per_process_gpu_memory_fraction
    if fraction:
        session_config.gpu_options.per_process_gpu_memory_fraction = fraction
    tf.get_logger().setLevel(logging.ERROR)  # its notes on restored files and old interfaces are no events
    return LoadOptions(
        tags=tuple(options.saved_model_tags.split(",")),
        session_config=session_config,
        batch_threads=BatchThreads(plan.batching.num_batch_threads) if plan.batching is not None else None,
        batching=plan.batching,
        per_model_batching=options.enable_per_model_batching_parameters,
        check_method_names=options.enable_signature_method_name_check,
        warmup_iterations=max(1, options.num_request_iterations_for_warmup)
        if options.enable_model_warmup
        else 0,
        rest_timeout_ms=options.rest_api_timeout_in_ms if options.rest_api_port else None,
    )
