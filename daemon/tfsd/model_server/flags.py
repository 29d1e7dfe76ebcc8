"""The command line: every flag of tensorflow_model_server with its type and default, and how it is parsed.

Three flags are of our own: `--host`, `--start_despite_load_errors` and `--op_libraries`.
Never imports TensorFlow, so that `--version`, `--help` and bad values are answered at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_TRUE = frozenset({"true", "True", "1"})
#: Whoever reaches the gRPC port may have any model loaded, and a model is code: nobody else does, unless told.
LOOPBACK = "127.0.0.1"
_FALSE = frozenset({"false", "False", "0"})


def cpus() -> int:
    """How many CPUs this process may run on (TensorFlow's NumSchedulableCPUs)."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        kind: `int32`, `int64`, `bool`, `float` or `string`.
        works: whether it has a meaning in this server; if not it is accepted and named once in the log.
    """

    name: str
    kind: str
    default: Any
    text: str
    works: bool = True


def table() -> tuple[Flag, ...]:
    """All flags in the order in which the usage text lists them."""
    threads = 4 * cpus()
    return (
        Flag("port", "int32", 8500, "TCP port of the gRPC API; 0 only together with --grpc_socket_path."),
        Flag(
            "host",
            "string",
            LOOPBACK,
            "Address on which gRPC and REST listen; :: for all. Only this server has this flag.",
        ),
        Flag("grpc_socket_path", "string", "", "UNIX socket on which the gRPC API listens as well."),
        Flag("rest_api_port", "int32", 0, "TCP port of the REST API; 0 switches it off."),
        Flag("rest_api_num_threads", "int32", threads, "Threads that serve REST requests."),
        Flag("rest_api_timeout_in_ms", "int32", 30000, "Time limit of a REST request."),
        Flag("rest_api_enable_cors_support", "bool", False, "Send CORS headers on REST responses."),
        Flag("enable_batching", "bool", False, "Batch requests together."),
        Flag(
            "allow_version_labels_for_unavailable_models",
            "bool",
            False,
            "Let a new version label point to a version that is not available yet.",
        ),
        Flag("batching_parameters_file", "string", "", "Text file with a BatchingParameters message."),
        Flag(
            "enable_per_model_batching_parameters",
            "bool",
            False,
            "Read batching_params.pbtxt in each version's directory; models without one are not batched.",
        ),
        Flag("model_config_file", "string", "", "Text file with a ModelServerConfig message."),
        Flag(
            "model_config_file_poll_wait_seconds",
            "int32",
            0,
            "Seconds between readings of the model_config_file; 0 reads it once.",
        ),
        Flag("model_name", "string", "default", "Name of the single model; ignored with a config file."),
        Flag("model_base_path", "string", "", "Directory of the single model; ignored with a config file."),
        Flag("num_load_threads", "int32", 0, "Threads that load models after the start; 0 means one."),
        Flag("num_unload_threads", "int32", 0, "Threads that unload models.", works=False),
        Flag("max_num_load_retries", "int32", 5, "Retries of a failed load."),
        Flag("load_retry_interval_micros", "int64", 60_000_000, "Microseconds between attempts to load."),
        Flag(
            "start_despite_load_errors",
            "bool",
            False,
            "Start even if a version cannot be loaded: it is listed as END, with its error. Only this server has "
            "this flag.",
        ),
        Flag(
            "op_libraries",
            "string",
            "",
            "Comma-separated op libraries to load before the models: paths, or names of installed Python packages. "
            "Only this server has this flag.",
        ),
        Flag(
            "file_system_poll_wait_seconds",
            "int32",
            1,
            "Seconds between checks for new versions; 0 checks once, at start; a negative number never.",
        ),
        Flag("flush_filesystem_caches", "bool", True, "Flush file system caches after loads.", works=False),
        Flag(
            "tensorflow_session_parallelism",
            "int64",
            0,
            "Threads of a Session, both within and between operations; 0 lets TensorFlow choose.",
        ),
        Flag("tensorflow_session_config_file", "string", "", "Text file with a ConfigProto message."),
        Flag("tensorflow_intra_op_parallelism", "int64", 0, "Threads within one operation; 0: automatic."),
        Flag("tensorflow_inter_op_parallelism", "int64", 0, "Operations run at once; 0: automatic."),
        Flag("use_alts_credentials", "bool", False, "Use Google ALTS credentials.", works=False),
        Flag("ssl_config_file", "string", "", "Text file with an SSLConfig message: serve gRPC over TLS."),
        Flag("platform_config_file", "string", "", "Text file with a PlatformConfigMap.", works=False),
        Flag("per_process_gpu_memory_fraction", "float", 0.0, "Share of GPU memory to use; 0: automatic."),
        Flag("saved_model_tags", "string", "serve", "Comma-separated tags of the meta graph to load."),
        Flag("grpc_channel_arguments", "string", "", "Comma-separated name=value gRPC server arguments."),
        Flag(
            "grpc_max_threads",
            "int32",
            threads,
            "Concurrent gRPC calls; more are refused. If it is not set, they wait.",
        ),
        Flag("enable_model_warmup", "bool", True, "Replay assets.extra/tf_serving_warmup_requests."),
        Flag("num_request_iterations_for_warmup", "int32", 0, "Replays of each warm-up request."),
        Flag("version", "bool", False, "Print the version and exit."),
        Flag("monitoring_config_file", "string", "", "Text file with a MonitoringConfig message."),
        Flag("remove_unused_fields_from_bundle_metagraph", "bool", True, "Save memory.", works=False),
        Flag("prefer_tflite_model", "bool", False, "Serve model.tflite if there is one.", works=False),
        Flag("num_tflite_pools", "int32", cpus(), "TensorFlow Lite interpreter pools.", works=False),
        Flag("num_tflite_interpreters_per_pool", "int32", 1, "TensorFlow Lite interpreters.", works=False),
        Flag(
            "enable_signature_method_name_check",
            "bool",
            False,
            "Insist that a signature's method name fits the request.",
        ),
        Flag("xla_cpu_compilation_enabled", "bool", False, "Enable XLA on CPUs.", works=False),
        Flag("xla_gpu_compilation_enabled", "bool", False, "Enable XLA on GPUs.", works=False),
        Flag("enable_profiler", "bool", True, "Serve the profiler.", works=False),
        Flag("thread_pool_factory_config_file", "string", "", "Thread pools of Sessions.", works=False),
        Flag("mixed_precision", "string", "", "Mixed precision mode.", works=False),
        Flag("skip_initialize_tpu", "bool", False, "Leave TPUs alone.", works=False),
        Flag("enable_grpc_healthcheck_service", "bool", False, "Serve grpc.health.v1.Health."),
        Flag(
            "enable_serialization_as_tensor_content",
            "bool",
            False,
            "Answer Predict with tensor_content instead of typed fields.",
        ),
    )


@dataclass(frozen=True)
class Options:
    """What a command line says.

    Attributes:
        values: flag name -> value, defaults included.
        given: the names of the flags that the command line set.
        unknown: the first argument that is no flag, or None. It is reported but does not stop the server.
    """

    values: Mapping[str, Any]
    given: frozenset[str] = field(default_factory=frozenset)
    unknown: str | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def without_effect(self) -> list[str]:
        """The flags of this command line that this server accepts but does not use."""
        return [flag.name for flag in table() if flag.name in self.given and not flag.works]


class FlagError(Exception):
    """A flag has a value that its type does not allow, or help was asked for. Exit with 255."""


def parse(arguments: Iterable[str]) -> Options:
    """Parse `--name=value` arguments as tensorflow::Flags does.

    A bare `--name` sets a bool. Anything else that is not understood is kept in `Options.unknown`.
    Raises FlagError: a value that does not fit the flag's type, or `--help`.
    """
    flags = {flag.name: flag for flag in table()}
    values = {name: flag.default for name, flag in flags.items()}
    given = set()
    unknown = None
    for argument in arguments:
        if argument == "--help":
            raise FlagError("")
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = flags.get(name) if argument.startswith("--") else None
        if flag is None or (not equals and flag.kind != "bool"):
            unknown = unknown or argument
            continue
        values[name] = _value(flag, text) if equals else True
        given.add(name)
    return Options(values, frozenset(given), unknown)


def _value(flag: Flag, text: str) -> Any:
    if flag.kind == "string":
        return text
    if flag.kind == "bool":
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    elif flag.kind == "float":
        try:
            return float(text)
        except ValueError:
            pass
    elif re.fullmatch(r"\s*[+-]?\d+", text, re.ASCII):
        low, high = _INT_RANGES[flag.kind]
        if low <= int(text) <= high:
            return int(text)
    raise FlagError(f"Couldn't interpret value {text!r} for flag --{flag.name}, which takes a {flag.kind}.")


def usage(program: str) -> str:
    """The usage text: one line a flag, with its default, type and meaning."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in table():
        default = f'"{flag.default}"' if flag.kind == "string" else _shown(flag.default)
        without = "" if flag.works else " Accepted, without effect in this server."
        setting = f"--{flag.name}={default}"
        lines.append(f"\t{setting:<33}\t{flag.kind}\t{flag.text}{without}")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    return f"{default:g}" if isinstance(default, float) else str(default)
