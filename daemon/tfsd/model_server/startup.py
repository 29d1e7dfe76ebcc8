"""From the command line to what the server needs: every file read and every contradiction refused.

Never imports TensorFlow or gRPC, so that mistakes are reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from tfsd.model_server import model_config
from tfsd.model_server.batching.parameters import BatchParameters, from_proto
from tfsd.model_server.errors import invalid
from tfsd.model_server.flags import Options, cpus
from tfsd.model_server.protos import message_class, read_text_proto

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
#: With batching a waiting request costs no CPU, and more of them make fuller batches.
_BATCHING_THREADS = 64


@dataclass(frozen=True)
class Plan:
    """What the command line and its files ask for.

    Attributes:
        model_server_config: a `ModelServerConfig`.
        batching: None without --enable_batching.
        prometheus_path: None when no metrics are exported.
        ssl_config: an `SSLConfig`, or None.
        grpc_addresses: to listen on, as gRPC writes them.
        grpc_threads, rest_threads: how many requests are served at once.
        grpc_limit: how many gRPC calls there may be, waiting ones included; None for any number.
        intra_op, inter_op: threads of a Session; 0: automatic.
    """

    options: Options
    model_server_config: Any
    batching: BatchParameters | None
    prometheus_path: str | None
    ssl_config: Any
    grpc_arguments: list[tuple[str, int | str]]
    grpc_addresses: list[str]
    grpc_threads: int
    grpc_limit: int | None
    rest_threads: int
    intra_op: int
    inter_op: int

    @property
    def needs_grpc_core(self) -> bool:
        """Whether gRPC's own server is needed: for TLS, the health service (which streams), or its arguments."""
        health = self.options.enable_grpc_healthcheck_service
        return bool(self.ssl_config is not None or self.grpc_arguments or health)


def prepare(options: Options) -> Plan:
    """Check a command line and read its files, in the real server's order.

    Raises ServingError: what is wrong; the server must not start.
    """
    if options.port == 0 and not options.grpc_socket_path:
        raise invalid(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not options.model_base_path and not options.model_config_file:
        raise invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")
    config = read_model_server_config(options)
    batching = _batching(options)
    intra_op, inter_op = _parallelism(options)
    ssl_config = None
    if options.ssl_config_file:
        ssl_config = read_text_proto(options.ssl_config_file, message_class("SSLConfig")())
    addresses = [f"{_bracketed(options.host)}:{options.port}"] if options.port else []
    if options.grpc_socket_path:
        addresses.append(f"unix:{options.grpc_socket_path}")
    return Plan(
        options=options,
        model_server_config=config,
        batching=batching,
        prometheus_path=_prometheus_path(options),
        ssl_config=ssl_config,
        grpc_arguments=_channel_arguments(options.grpc_channel_arguments),
        grpc_addresses=addresses,
        grpc_threads=_grpc_threads(options),
        grpc_limit=options.grpc_max_threads if "grpc_max_threads" in options.given else None,
        rest_threads=_threads(options, "rest_api_num_threads"),
        intra_op=intra_op,
        inter_op=inter_op,
    )


def _bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def read_model_server_config(options: Options) -> Any:
    """The ModelServerConfig of the config file or, without one, of the single model. Raises ServingError."""
    if not options.model_config_file:
        return model_config.single_model(options.model_name, options.model_base_path)
    return read_text_proto(options.model_config_file, model_server_config_pb2.ModelServerConfig())


def _batching(options: Options) -> BatchParameters | None:
    if not options.enable_batching:
        if options.batching_parameters_file:
            raise invalid(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to "
                "true."
            )
        return None
    proto = message_class("BatchingParameters")()
    if options.batching_parameters_file:
        read_text_proto(options.batching_parameters_file, proto)
    return from_proto(proto)


def _parallelism(options: Options) -> tuple[int, int]:
    session = options.tensorflow_session_parallelism
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if session > 0 and intra > 0 and inter > 0:
        raise invalid(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    return (intra, inter) if intra > 0 or inter > 0 else (session, session)


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """--grpc_channel_arguments: comma-separated name=value; values that are numbers are passed as such.

    Raises ServingError: INVALID_ARGUMENT for an entry without `=`.
    """
    arguments: list[tuple[str, int | str]] = []
    for entry in filter(None, text.split(",")):
        name, equals, value = entry.partition("=")
        if not name or not equals:
            raise invalid(
                f"--grpc_channel_arguments takes name=value pairs, separated by commas; got '{entry}'"
            )
        try:
            arguments.append((name, int(value)))
        except ValueError:
            arguments.append((name, value))
    return arguments


def _prometheus_path(options: Options) -> str | None:
    if not options.monitoring_config_file:
        return None
    config: Any = read_text_proto(options.monitoring_config_file, message_class("MonitoringConfig")())
    if not config.prometheus_config.enable:
        return None
    return config.prometheus_config.path or PROMETHEUS_PATH


def _grpc_threads(options: Options) -> int:
    """Calls that are served at once: no more than CPUs can use unless they wait for their batch."""
    threads = _threads(options, "grpc_max_threads")
    return threads if options.enable_batching else min(threads, 4 * cpus())


def _threads(options: Options, flag: str) -> int:
    """A thread pool's size; when batching is on and the flag was not given, enough to fill batches."""
    threads = getattr(options, flag)
    if options.enable_batching and flag not in options.given:
        return max(threads, _BATCHING_THREADS)
    return threads if threads > 0 else 4 * cpus()
