"""What a command line and its files ask for, and which contradictions are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfsd.model_server import flags, startup
from tfsd.model_server.errors import Code, ServingError


def plan(*arguments: str) -> startup.Plan:
    return startup.prepare(flags.parse(["--model_base_path=/m", *arguments]))


def file(directory: Path, text: str) -> str:
    path = directory / "file"
    path.write_text(text)
    return str(path)


def test_a_single_model() -> None:
    made = plan("--model_name=a")
    [config] = made.model_server_config.model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("a", "/m", "tensorflow")
    assert made.batching is None
    assert made.prometheus_path is None
    assert made.grpc_addresses == ["127.0.0.1:8500"]


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "0.0.0.0:8500"), ("::", "[::]:8500")])
def test_a_host_to_listen_on(host: str, address: str) -> None:
    assert plan(f"--host={host}").grpc_addresses == [address]


def test_socket_without_port() -> None:
    assert plan("--port=0", "--grpc_socket_path=/tmp/s").grpc_addresses == ["unix:/tmp/s"]


def test_batching_parameters(tmp_path: Path) -> None:
    text = (
        "max_batch_size { value: 8 } batch_timeout_micros { value: 500 } max_enqueued_batches { value: 3 }\n"
        "num_batch_threads { value: 2 } allowed_batch_sizes: 4 allowed_batch_sizes: 8\n"
        "pad_variable_length_inputs: true thread_pool_name { value: 'x' }\n"
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"
    )
    batching = plan("--enable_batching", f"--batching_parameters_file={file(tmp_path, text)}").batching
    assert batching is not None
    assert (batching.max_batch_size, batching.batch_timeout_micros, batching.max_enqueued_batches) == (
        8,
        500,
        3,
    )
    assert (batching.num_batch_threads, batching.allowed_batch_sizes) == (2, (4, 8))
    assert batching.pad_variable_length_inputs
    assert (batching.enable_large_batch_splitting, batching.max_execution_batch_size) == (True, 4)
    defaults = plan("--enable_batching").batching
    assert defaults is not None
    assert (defaults.max_batch_size, defaults.batch_timeout_micros, defaults.max_enqueued_batches) == (
        1000,
        0,
        10,
    )
    assert defaults.num_batch_threads == flags.cpus()


def test_batching_has_threads_enough_to_fill_batches_unless_told_otherwise() -> None:
    assert plan("--enable_batching").grpc_threads >= 64
    assert plan("--enable_batching", "--grpc_max_threads=3").grpc_threads == 3
    assert plan("--rest_api_num_threads=5").rest_threads == 5


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true path: '/metrics' }", "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { path: '/metrics' }", None),
        ("# nothing", None),
    ],
)
def test_prometheus_path(tmp_path: Path, text: str, path: str | None) -> None:
    assert plan(f"--monitoring_config_file={file(tmp_path, text)}").prometheus_path == path


def test_grpc_arguments() -> None:
    arguments = plan("--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.x=y").grpc_arguments
    assert arguments == [("grpc.max_connection_age_ms", 2000), ("grpc.x", "y")]


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ([], (0, 0)),
        (["--tensorflow_session_parallelism=3"], (3, 3)),
        (["--tensorflow_intra_op_parallelism=2"], (2, 0)),
        (["--tensorflow_session_parallelism=3", "--tensorflow_inter_op_parallelism=2"], (0, 2)),
    ],
)
def test_parallelism(arguments: list[Any], threads: tuple[Any, ...]) -> None:
    made = plan(*arguments)
    assert (made.intra_op, made.inter_op) == threads


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--port=0"], Code.INVALID_ARGUMENT, "At least one of server_options.grpc_port"),
        (["--model_base_path="], Code.INVALID_ARGUMENT, "Both server_options.model_base_path and"),
        (["--model_config_file=/nonexistent"], Code.NOT_FOUND, "/nonexistent; No such file or directory"),
        (
            ["--grpc_channel_arguments=foo"],
            Code.INVALID_ARGUMENT,
            "name=value pairs, separated by commas; got 'foo'",
        ),
        (
            ["--batching_parameters_file=/x"],
            Code.INVALID_ARGUMENT,
            "without setting server_options.enable_batching",
        ),
        (["--ssl_config_file=/nonexistent"], Code.NOT_FOUND, "/nonexistent; No such file or directory"),
    ],
)
def test_refused(arguments: list[Any], code: Code, text: str) -> None:
    with pytest.raises(ServingError) as refusal:
        plan(*arguments)
    assert refusal.value.code is code
    assert text in refusal.value.message


def test_text_protos_that_are_empty_or_bad(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty, bad = file(tmp_path, ""), tmp_path / "bad"
    bad.write_text("max_batch_size: 5")
    with pytest.raises(ServingError, match=f"{empty}; Invalid argument"):
        plan(f"--model_config_file={empty}")
    with pytest.raises(ServingError, match="Invalid protobuf file: "):
        plan("--enable_batching", f"--batching_parameters_file={bad}")
    assert "1:17" in caplog.text


def test_mistakes_are_told_without_loading_tensorflow() -> None:
    code = (
        "import sys; from tfsd.model_server import __main__ as program; "
        "code = program.main(['--model_base_path=/m', '--grpc_channel_arguments=foo']); "
        "assert code == 255, code; assert 'tensorflow.python' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Failed to start server. Error: INVALID_ARGUMENT: --grpc_channel_arguments")
