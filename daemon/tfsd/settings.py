"""Every environment variable that the stack reads: name, type, default and one line of documentation.

`Settings.from_environ` parses them once into a frozen object and refuses all bad values together, each by
name. `python -m tfsd.settings` prints the table in docs/reference/settings.md. Nothing else in tfsd reads the
environment for configuration, and this module never imports another room of tfsd.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tfsd.errors import StartError
from tfsd.machine import available_cpus, memory_bytes, schedulable_cpus

KSERVE_MODEL_DIR = Path("/mnt/models")
NGINX_LOG_LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
MAX_INTEGER = 2**31 - 1  # of the model server's flags
GATEWAY_MARGIN_SECONDS = 2  # nginx waits this much longer than the worker, so that the worker's 504 arrives


class SettingsError(StartError):
    """Some variables have values that cannot be used; `problems` has one line for each, with its name."""

    def __init__(self, problems: list[str]):
        super().__init__("; ".join(problems))
        self.problems = problems


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ValueError("must be true or false")
    return values[text.lower()]


def _integer(low: int, high: int = MAX_INTEGER) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # The length comes first: int() refuses thousands of digits with an error of its own.
        is_number = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= len(str(high))
        if not is_number or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ValueError("must be a number from 0 up to, not including, 1")
    return value


def _percent(text: str) -> float:
    """nginx's split_clients takes no finer steps."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100 or round(value, 2) != value:
        raise ValueError("must be a number from 0 to 100 with at most two decimals")
    return value


def _absolute(text: str) -> Path:
    """Processes of the stack have working directories of their own."""
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    return Path(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ValueError("must be a positive number of seconds")
    return value


def _choice(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text.lower()

    return parse


def _log_level(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    level = logging.getLevelNamesMapping().get(text.upper())
    if level is None:
        raise ValueError("must be debug, info, warning, error, critical or a number such as 20")
    return level


def _port_range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    port = _integer(1, 65535)
    try:
        ports = port(low.strip()), port(high.strip())
    except ValueError:
        ports = 1, 0
    if not dash or ports[0] > ports[1]:
        raise ValueError("must be a range of ports such as 9000-9999")
    return ports


def _ascending(text: str) -> tuple[int, ...]:
    number = _integer(1)
    try:
        sizes = tuple(number(size) for size in text.replace(",", " ").split())
    except ValueError:
        sizes = ()
    if not sizes or any(low >= high for low, high in pairwise(sizes)):
        raise ValueError("must be whole numbers, each larger than the one before it, such as 1,2,4,8")
    return sizes


def _version_policy(text: str) -> int | None:
    """How many of the newest versions; None for all."""
    if text == "all":
        return None
    word, colon, number = text.partition(":")
    if word != "latest":
        raise ValueError("must be all, latest, or latest:N for the N newest versions")
    return _integer(1)(number) if colon else 1


def _address(text: str) -> str:
    if text.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(
            "must be an IPv4 address of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _list(text: str) -> tuple[str, ...]:
    return _words(text.replace(",", " "))


@dataclasses.dataclass(frozen=True)
class Variable:
    """What the environment offers for one setting: its names (the first that is set wins) and its parser."""

    names: tuple[str, ...]
    parse: Callable[[str], Any]
    doc: str
    shown_default: str | None = None
    ignored: bool = False


def _variable(names: str, parse: Callable[[str], Any], default: Any, doc: str, **more: Any) -> Any:
    return dataclasses.field(
        default=default, metadata={"variable": Variable(tuple(names.split()), parse, doc, **more)}
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """The configuration of one container. Variables: hosting contract, section 8. Times are in seconds."""

    base_dir: Path = _variable(
        "SAGEMAKER_BASE_DIR",
        Path,
        Path("/opt/ml"),
        "Where `model/`, `models/` and `code/` lie. Where there is no `model/`, `/mnt/models` counts, KServe's place.",
    )
    port: int = _variable("SAGEMAKER_BIND_TO_PORT", _integer(1, 65535), 8080, "Port of the endpoint.")
    bind_address: str = _variable(
        "SAGEMAKER_TFS_BIND_ADDRESS",
        _address,
        "0.0.0.0",
        "IPv4 address that the endpoint listens on (`bin/local`: 127.0.0.1, or what `--host` says).",
    )
    safe_port_range: tuple[int, int] | None = _variable(
        "SAGEMAKER_SAFE_PORT_RANGE",
        _port_range,
        None,
        "Inclusive range `LOW-HIGH` for the model servers' ports; the first one is the first model's gRPC port, unless "
        "another process takes it while the model server is down: then that moves to another port of the range.",
        shown_default="any free port",
    )
    multi_model: bool = _variable(
        "SAGEMAKER_MULTI_MODEL", _boolean, False, "Multi-model mode: models are loaded through `/models`."
    )
    default_model_name: str | None = _variable(
        "SAGEMAKER_TFS_DEFAULT_MODEL_NAME",
        str,
        None,
        "Model of a request that names none; and the name of a model whose versions lie in the model directory itself.",
        shown_default="the only model; with several, the first by name",
    )
    newest_versions: int | None = _variable(
        "SAGEMAKER_TFS_VERSION_POLICY",
        _version_policy,
        None,
        "Versions of each model that are served: `all`, `latest`, or `latest:N` for the N newest.",
        shown_default="all",
    )
    nginx_log_level: str = _variable(
        "SAGEMAKER_TFS_NGINX_LOGLEVEL", _choice(NGINX_LOG_LEVELS), "error", "Level of nginx's error log."
    )
    model_server_binary: str | None = _variable(
        "SAGEMAKER_TFS_BINARY",
        str,
        None,
        "Path of the model server to run.",
        shown_default="`tensorflow_model_server` from PATH, else the embedded server",
    )
    model_server_args: tuple[str, ...] = _variable(
        "SAGEMAKER_TFS_EXTRA_ARGS",
        _words,
        (),
        "Further flags for every model server, separated by blanks.",
        shown_default="none",
    )
    op_libraries: tuple[str, ...] = _variable(
        "SAGEMAKER_TFS_OP_LIBRARIES",
        _list,
        (),
        "Op libraries that the embedded model server loads before the models: paths of `.so` files, or names of "
        "installed Python packages such as `tensorflow_text`; separated by commas or blanks.",
        shown_default="none",
    )
    instance_count: int = _variable(
        "SAGEMAKER_TFS_INSTANCE_COUNT", _integer(1), 1, "Model server processes for each model."
    )
    models_per_process: int = _variable(
        "SAGEMAKER_TFS_MODELS_PER_PROCESS",
        _integer(1),
        1,
        "Models that may share a model server process (multi-model mode).",
    )
    model_slots: int = _variable(
        "SAGEMAKER_TFS_MODEL_SLOTS",
        _integer(0, 1024),
        128,
        "Model servers that nginx reaches without a worker, never more than `SAGEMAKER_SAFE_PORT_RANGE` has pairs of "
        "ports, and models with code whose workers it keeps connections to (multi-model mode). Those beyond cost more.",
    )
    memory_limit_mb: int | None = _variable(
        "SAGEMAKER_TFS_MEMORY_LIMIT_MB",
        _integer(1),
        None,
        "Memory that all processes together may use before a load is answered 507 (multi-model mode).",
        shown_default="the container's limit",
    )
    max_body_mb: int = _variable(
        "SAGEMAKER_TFS_MAX_BODY_MB",
        _integer(1),
        1024,
        "A request's size; a larger one is answered 413. What is above 32 MB lies on the run directory's disk.",
    )
    max_spooled_mb: int = _variable(
        "SAGEMAKER_TFS_MAX_SPOOLED_MB",
        _integer(1),
        16384,
        "Disk that request bodies may take together: as many above 8 MB, or in chunks, are taken at once as fit if "
        "each had `SAGEMAKER_TFS_MAX_BODY_MB`; one at least. More are answered 503, in chunks above 8 MB only.",
    )
    max_inflated_mb: int = _variable(
        "SAGEMAKER_TFS_MAX_INFLATED_MB",
        _integer(1),
        None,
        "What a gzip body may grow to (else 413), and all of them in a worker at a time (else 503).",
        shown_default="an eighth of the memory, shared among the workers; 16 to 1024",
    )
    gpu_memory_margin: float = _variable(
        "SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN",
        _fraction,
        0.2,
        "Part of a GPU's memory left free when several model servers share it.",
    )
    inter_op_parallelism: int | None = _variable(
        "SAGEMAKER_TFS_INTER_OP_PARALLELISM",
        _integer(0),
        None,
        "Model server flag `--tensorflow_inter_op_parallelism`.",
        shown_default="flag omitted; the number of CPUs where a quota leaves fewer than the machine has",
    )
    intra_op_parallelism: int | None = _variable(
        "SAGEMAKER_TFS_INTRA_OP_PARALLELISM",
        _integer(0),
        None,
        "Model server flag `--tensorflow_intra_op_parallelism`.",
        shown_default="flag omitted; the number of CPUs where a quota leaves fewer than the machine has",
    )
    load_timeout: float = _variable(
        "SAGEMAKER_TFS_WAIT_TIME_SECONDS", _seconds, 300.0, "How long a model may take to load."
    )
    enable_batching: bool = _variable(
        "SAGEMAKER_TFS_ENABLE_BATCHING", _boolean, False, "Batch requests in the model server."
    )
    max_batch_size: int = _variable(
        "SAGEMAKER_TFS_MAX_BATCH_SIZE",
        _integer(1),
        8,
        "`max_batch_size`.",
        shown_default="8, or the last of the allowed sizes",
    )
    batch_timeout_micros: int = _variable(
        "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS", _integer(0), 1000, "`batch_timeout_micros`."
    )
    num_batch_threads: int = _variable(
        "SAGEMAKER_TFS_NUM_BATCH_THREADS",
        _integer(1),
        None,
        "`num_batch_threads`.",
        shown_default="number of CPUs",
    )
    max_enqueued_batches: int = _variable(
        "SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES",
        _integer(1),
        None,
        "`max_enqueued_batches`.",
        shown_default="number of CPUs; 100000000 with SAGEMAKER_BATCH",
    )
    allowed_batch_sizes: tuple[int, ...] = _variable(
        "SAGEMAKER_TFS_ALLOWED_BATCH_SIZES",
        _ascending,
        (),
        "`allowed_batch_sizes`: batches are padded to one of these sizes, such as `1,2,4,8`; the last one is "
        "`max_batch_size`.",
        shown_default="any",
    )
    large_batch_splitting: bool = _variable(
        "SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING",
        _boolean,
        False,
        "`enable_large_batch_splitting`: requests are cut so that every batch is full.",
    )
    max_execution_batch_size: int | None = _variable(
        "SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE",
        _integer(1),
        None,
        "`max_execution_batch_size`: rows of a batch when requests are cut.",
        shown_default="`max_batch_size`",
    )
    pad_variable_length_inputs: bool = _variable(
        "SAGEMAKER_TFS_PAD_VARIABLE_LENGTH_INPUTS",
        _boolean,
        False,
        "`pad_variable_length_inputs`: inputs of different inner lengths share a batch.",
    )
    batch: bool = _variable("SAGEMAKER_BATCH", _boolean, False, "The container serves a batch transform job.")
    max_payload_mb: int | None = _variable(
        "SAGEMAKER_MAX_PAYLOAD_IN_MB",
        _integer(0),
        None,
        "Batch transform's own setting, repeated by `/execution-parameters`.",
        shown_default="6",
    )
    batch_strategy: str | None = _variable(
        "SAGEMAKER_BATCH_STRATEGY",
        str,
        None,
        "Batch transform's own setting, repeated by `/execution-parameters`.",
        shown_default="MultiRecord",
    )
    max_concurrent_transforms: int | None = _variable(
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        _integer(0),
        None,
        "Batch transform's own setting, repeated by `/execution-parameters`.",
        shown_default="4 for each worker",
    )
    workers: int = _variable(
        "SAGEMAKER_GUNICORN_WORKERS SAGEMAKER_MODEL_SERVER_WORKERS",
        _integer(1),
        None,
        "gevent worker processes for each set of user code.",
        shown_default="number of CPUs",
    )
    gunicorn_threads: str | None = _variable(
        "SAGEMAKER_GUNICORN_THREADS", str, None, "Accepted and ignored: the workers are gevent.", ignored=True
    )
    gunicorn_worker_class: str | None = _variable(
        "SAGEMAKER_GUNICORN_WORKER_CLASS",
        str,
        None,
        "Accepted and ignored: the workers are gevent.",
        ignored=True,
    )
    request_timeout: float = _variable(
        "SAGEMAKER_GUNICORN_TIMEOUT_SECONDS SAGEMAKER_MODEL_SERVER_TIMEOUT",
        _seconds,
        60.0,
        "One request's time limit, answered 504; every other timeout is derived from it.",
        shown_default="60; 600 with SAGEMAKER_BATCH",
    )
    stop_time: float = _variable(
        "SAGEMAKER_TFS_STOP_SECONDS",
        _seconds,
        30.0,
        "Time that the platform leaves between SIGTERM and SIGKILL; requests in flight are finished within it.",
    )
    log_level: int = _variable(
        "SAGEMAKER_GUNICORN_LOGLEVEL SAGEMAKER_CONTAINER_LOG_LEVEL",
        _log_level,
        logging.INFO,
        "Log level of the Python processes, a name or a number.",
        shown_default="info",
    )
    proxy_read_timeout: float = _variable(
        "SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS",
        _seconds,
        None,
        "nginx's wait for a response; raised when it is lower than the request's time limit allows.",
        shown_default="derived from the request's time limit",
    )
    log_format: str = _variable(
        "SAGEMAKER_TFS_LOG_FORMAT",
        _choice(("text", "json")),
        "text",
        "Form of log lines: `text`, or `json` for one JSON object a line.",
    )
    status_page: bool = _variable(
        "SAGEMAKER_TFS_STATUS_PAGE",
        _boolean,
        False,
        "Show the status page at `/` and `/status.json`; `bin/local serve` does.",
    )
    capture_dir: Path | None = _variable(
        "SAGEMAKER_TFS_CAPTURE_DIR",
        _absolute,
        None,
        "Absolute path of a directory for a sample of requests and responses, in SageMaker's data capture format.",
        shown_default="nothing is captured",
    )
    capture_percent: float = _variable(
        "SAGEMAKER_TFS_CAPTURE_PERCENT",
        _percent,
        100.0,
        "How many of a hundred requests are captured, such as `5` or `0.25`.",
    )
    capture_max_mb: int = _variable(
        "SAGEMAKER_TFS_CAPTURE_MAX_MB",
        _integer(1),
        1024,
        "What the capture directory may hold; the oldest files are deleted first.",
    )
    universal_bucket: str | None = _variable(
        "SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET",
        str,
        None,
        "S3 bucket with one `inference.py` for all models (multi-model mode).",
        shown_default="none",
    )
    universal_prefix: str | None = _variable(
        "SAGEMAKER_MULTI_MODEL_UNIVERSAL_PREFIX",
        str,
        None,
        "Prefix of the universal code in that bucket.",
        shown_default="none",
    )
    program: str = _variable(
        "SAGEMAKER_PROGRAM", str, "inference.py", "The user's script, relative to the source directory."
    )
    submit_directory: str | None = _variable(
        "SAGEMAKER_SUBMIT_DIRECTORY",
        str,
        None,
        "The source directory, or a `.tar.gz` of it: a path, or `s3://bucket/key`.",
        shown_default="`code/` of the model directory",
    )
    requirements: str | None = _variable(
        "SAGEMAKER_REQUIREMENTS",
        str,
        None,
        "The user's requirements, relative to the source directory.",
        shown_default="`requirements.txt`, if there is one",
    )
    default_accept: str = _variable(
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        str,
        "application/json",
        "Used when Accept is absent or `*/*`.",
    )
    strict_accept: bool = _variable(
        "SAGEMAKER_TFS_STRICT_ACCEPT",
        _boolean,
        False,
        "Answer 406 when Accept names only what cannot be produced; otherwise that is answered in JSON.",
    )
    python_endpoint: bool = _variable(
        "SAGEMAKER_TFS_PYTHON_ENDPOINT",
        _boolean,
        False,
        "Serve models without a script by the `input_fn`/`output_fn` endpoint with its defaults.",
    )
    rest_api: bool = _variable(
        "SAGEMAKER_TFS_REST_API",
        _boolean,
        False,
        "Answer TensorFlow Serving's REST API, which is KServe's V1 protocol, under `/v1/models` as well.",
    )
    v2_api: bool = _variable(
        "SAGEMAKER_TFS_V2_API",
        _boolean,
        False,
        "Answer the Open Inference Protocol (V2), which Triton's and KServe's clients speak, under `/v2` as well.",
    )
    grpc_sockets: bool = _variable(
        "SAGEMAKER_TFS_GRPC_SOCKETS",
        _boolean,
        False,
        "Model servers listen for gRPC on unix sockets alone. Without it they have a port as well, which no worker "
        "needs. Those keep the port whose models have code of their own, which may use `context.grpc_port`, or that "
        "several models share.",
    )
    grpc_timeout: float = _variable(
        "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT",
        _seconds,
        None,
        "Time limit of one gRPC call of the `input_fn`/`output_fn` endpoint.",
        shown_default="10, 30 with an accelerator",
    )
    accelerator_present: bool = _variable(
        "SAGEMAKER_INFERENCE_ACCELERATOR_PRESENT",
        _boolean,
        False,
        "An Elastic Inference accelerator is attached.",
    )
    omp_num_threads: int = _variable(
        "OMP_NUM_THREADS",
        _integer(1),
        1,
        "OpenMP threads of the model servers; user code has it only if it is set.",
    )
    ignored: tuple[str, ...] = ()
    """Names of the variables that are set and have no effect."""

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        cpus: int | None = None,
        memory: int | None = None,
        schedulable: int | None = None,
    ) -> Settings:
        """Parse `environ`; an empty value counts as unset.

        Defaults are derived from the number of CPUs and the bytes of memory (default: what this process may use).
        `schedulable` is how many CPUs a process that knows no quota would count (default: as many as `cpus`, if given).
        Raises SettingsError that lists every bad variable.
        """
        if schedulable is None:
            schedulable = schedulable_cpus() if cpus is None else cpus
        values: dict[str, Any] = {}
        problems: list[str] = []
        ignored: list[str] = []
        for field, variable in variables():
            name = next((n for n in variable.names if environ.get(n, "").strip()), None)
            if name is None:
                continue
            if variable.ignored:
                ignored.append(name)
            text = environ[name].strip()
            try:
                values[field] = variable.parse(text)
            except ValueError as error:
                problems.append(f"{name}={text!r} {error}")
        if not problems:
            values = _with_derived(
                values,
                available_cpus() if cpus is None else cpus,
                schedulable,
                memory_bytes() if memory is None else memory,
            )
            problems = _batching_problems(values)
        if problems:
            raise SettingsError(problems)
        return cls(**values, ignored=tuple(ignored))

    @property
    def model_dir(self) -> Path:
        """Where the platform lays the model of a single-model endpoint (contract section 1), or KServe does."""
        own = self.base_dir / "model"
        return KSERVE_MODEL_DIR if KSERVE_MODEL_DIR.is_dir() and not own.exists() else own

    @property
    def models_dir(self) -> Path:
        """Where the platform lays the models of a multi-model endpoint (contract section 4)."""
        return self.base_dir / "models"

    @property
    def gateway_timeout(self) -> float:
        """Seconds that nginx waits for a worker at least."""
        return self.request_timeout + GATEWAY_MARGIN_SECONDS

    @property
    def captures(self) -> bool:
        """Whether any request is captured."""
        return self.capture_dir is not None and self.capture_percent > 0

    @property
    def universal_code_dirs(self) -> tuple[Path, ...]:
        """Where the code of all models without their own may lie, in multi-model mode; the first one counts."""
        return self.models_dir / "code", self.base_dir / "code"


def _batching_problems(values: Mapping[str, Any]) -> list[str]:
    """What the model server would refuse in values that are good each for itself."""
    problems = []
    largest = values["max_batch_size"]
    sizes = values.get("allowed_batch_sizes")
    if sizes and sizes[-1] != largest:
        listed = ",".join(map(str, sizes))
        problems.append(
            f"SAGEMAKER_TFS_ALLOWED_BATCH_SIZES='{listed}' must end with SAGEMAKER_TFS_MAX_BATCH_SIZE, {largest}"
        )
    execution = values.get("max_execution_batch_size")
    if execution and not values.get("large_batch_splitting"):
        problems.append(
            f"SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE='{execution}' "
            "needs SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING=true"
        )
    elif execution and execution > largest:
        problems.append(
            f"SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE='{execution}' must not be larger than "
            f"SAGEMAKER_TFS_MAX_BATCH_SIZE, {largest}"
        )
    return problems


def _with_derived(values: dict[str, Any], cpus: int, schedulable: int, memory: int) -> dict[str, Any]:
    """Add the defaults that depend on the machine or on other variables."""
    defaults: dict[str, Any] = {
        "max_batch_size": (values.get("allowed_batch_sizes") or (8,))[-1],
        "num_batch_threads": cpus,
        "max_enqueued_batches": 100_000_000 if values.get("batch") else cpus,
        "workers": cpus,
        "request_timeout": 600.0 if values.get("batch") else 60.0,  # the platform's own limits
        "grpc_timeout": 30.0 if values.get("accelerator_present") else 10.0,
    }
    own_pools = any(flag.startswith("--tensorflow_session_") for flag in values.get("model_server_args", ()))
    if cpus < schedulable and not own_pools:
        # TensorFlow knows no quotas: its pools would have a thread for each CPU of the host.
        defaults |= {"inter_op_parallelism": cpus, "intra_op_parallelism": cpus}
    values = {**defaults, **values}
    values.setdefault("max_inflated_mb", min(1024, max(16, memory // (8 * values["workers"]) >> 20)))
    gateway = values["request_timeout"] + GATEWAY_MARGIN_SECONDS
    values["proxy_read_timeout"] = max(values.get("proxy_read_timeout", gateway), gateway)
    return values


def variables() -> list[tuple[str, Variable]]:
    """The settings that come from the environment, as (field name, variable), in the order of the table."""
    return [
        (field.name, field.metadata["variable"])
        for field in dataclasses.fields(Settings)
        if "variable" in field.metadata
    ]


def markdown_table() -> str:
    """The documentation's table of variables."""
    lines = ["| variable | default | effect |", "|---|---|---|"]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for field, variable in variables():
        default = variable.shown_default
        if default is None:
            default = "" if defaults[field] is None else _shown(defaults[field])
        names = ", ".join(f"`{name}`" for name in variable.names)
        lines.append(f"| {names} | {default} | {variable.doc} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


if __name__ == "__main__":
    print(markdown_table(), end="")
