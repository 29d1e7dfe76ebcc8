"""Settings from the environment: hosting contract, section 8, and the documentation's table of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd import settings
from tfsd.settings import GATEWAY_MARGIN_SECONDS, Settings, SettingsError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

CONTRACT = {
    "SAGEMAKER_BASE_DIR",
    "SAGEMAKER_BIND_TO_PORT",
    "SAGEMAKER_SAFE_PORT_RANGE",
    "SAGEMAKER_MULTI_MODEL",
    "SAGEMAKER_TFS_DEFAULT_MODEL_NAME",
    "SAGEMAKER_TFS_NGINX_LOGLEVEL",
    "SAGEMAKER_TFS_INSTANCE_COUNT",
    "SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN",
    "SAGEMAKER_TFS_INTER_OP_PARALLELISM",
    "SAGEMAKER_TFS_INTRA_OP_PARALLELISM",
    "SAGEMAKER_TFS_WAIT_TIME_SECONDS",
    "SAGEMAKER_TFS_ENABLE_BATCHING",
    "SAGEMAKER_TFS_MAX_BATCH_SIZE",
    "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS",
    "SAGEMAKER_TFS_NUM_BATCH_THREADS",
    "SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES",
    "SAGEMAKER_BATCH",
    "SAGEMAKER_GUNICORN_WORKERS",
    "SAGEMAKER_MODEL_SERVER_WORKERS",
    "SAGEMAKER_GUNICORN_THREADS",
    "SAGEMAKER_GUNICORN_WORKER_CLASS",
    "SAGEMAKER_GUNICORN_TIMEOUT_SECONDS",
    "SAGEMAKER_MODEL_SERVER_TIMEOUT",
    "SAGEMAKER_GUNICORN_LOGLEVEL",
    "SAGEMAKER_CONTAINER_LOG_LEVEL",
    "SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS",
    "SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET",
    "SAGEMAKER_MULTI_MODEL_UNIVERSAL_PREFIX",
    "SAGEMAKER_PROGRAM",
    "SAGEMAKER_SUBMIT_DIRECTORY",
    "SAGEMAKER_REQUIREMENTS",
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
    "SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT",
    "OMP_NUM_THREADS",
    # section 5, batch transform
    "SAGEMAKER_MAX_PAYLOAD_IN_MB",
    "SAGEMAKER_BATCH_STRATEGY",
    "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
}
FIELDS = {name: field for field, variable in settings.variables() for name in variable.names}


def parse(**environ: str) -> Settings:
    return Settings.from_environ(environ, cpus=3, memory=2 << 30)


def value_of(name: str, text: str) -> object:
    return getattr(parse(**{name: text}), FIELDS[name])


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        parse(**environ)
    return error.value.problems


def test_every_variable_of_the_contract_is_read() -> None:
    assert set(FIELDS) >= CONTRACT


def test_no_variable_is_read_twice() -> None:
    names = [name for _, variable in settings.variables() for name in variable.names]
    assert len(names) == len(set(names))


def test_defaults() -> None:
    assert parse() == Settings(
        base_dir=Path("/opt/ml"),
        port=8080,
        safe_port_range=None,
        multi_model=False,
        default_model_name=None,
        nginx_log_level="error",
        model_server_binary=None,
        model_server_args=(),
        instance_count=1,
        max_body_mb=1024,
        max_spooled_mb=16384,
        max_inflated_mb=85,
        gpu_memory_margin=0.2,
        inter_op_parallelism=None,
        intra_op_parallelism=None,
        load_timeout=300,
        enable_batching=False,
        max_batch_size=8,
        batch_timeout_micros=1000,
        num_batch_threads=3,
        max_enqueued_batches=3,
        allowed_batch_sizes=(),
        large_batch_splitting=False,
        max_execution_batch_size=None,
        pad_variable_length_inputs=False,
        batch=False,
        max_payload_mb=None,
        batch_strategy=None,
        max_concurrent_transforms=None,
        workers=3,
        gunicorn_threads=None,
        gunicorn_worker_class=None,
        request_timeout=60,
        log_level=logging.INFO,
        proxy_read_timeout=60 + GATEWAY_MARGIN_SECONDS,
        universal_bucket=None,
        universal_prefix=None,
        program="inference.py",
        submit_directory=None,
        requirements=None,
        default_accept="application/json",
        strict_accept=False,
        python_endpoint=False,
        grpc_timeout=10,
        accelerator_present=False,
        omp_num_threads=1,
        ignored=(),
    )


def test_kserves_place_of_a_model_counts_where_sagemakers_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "KSERVE_MODEL_DIR", tmp_path / "mnt/models")
    found = Settings(base_dir=tmp_path)
    assert found.model_dir == tmp_path / "model"
    (tmp_path / "mnt/models").mkdir(parents=True)
    assert found.model_dir == tmp_path / "mnt/models"
    (tmp_path / "model").mkdir()
    assert found.model_dir == tmp_path / "model"


def test_tensorflows_pools_have_a_thread_for_each_cpu_of_a_quota() -> None:
    """A container with 2 CPUs of a host's 64: TensorFlow itself would count 64."""
    settings = Settings.from_environ({}, cpus=2, schedulable=64)
    assert (settings.workers, settings.num_batch_threads) == (2, 2)
    assert (settings.inter_op_parallelism, settings.intra_op_parallelism) == (2, 2)


def test_without_a_quota_tensorflow_counts_for_itself() -> None:
    settings = Settings.from_environ({}, cpus=64, schedulable=64)
    assert (settings.inter_op_parallelism, settings.intra_op_parallelism) == (None, None)


@pytest.mark.parametrize(
    ("environ", "pools"),
    [
        ({"SAGEMAKER_TFS_INTRA_OP_PARALLELISM": "1"}, (2, 1)),
        ({"SAGEMAKER_TFS_EXTRA_ARGS": "--tensorflow_session_parallelism=8"}, (None, None)),
        ({"SAGEMAKER_TFS_EXTRA_ARGS": "--tensorflow_session_config_file=/f"}, (None, None)),
    ],
)
def test_pools_that_the_user_sets_are_left_alone(
    environ: dict[str, str], pools: tuple[int | None, int | None]
) -> None:
    settings = Settings.from_environ(environ, cpus=2, schedulable=64)
    assert (settings.inter_op_parallelism, settings.intra_op_parallelism) == pools


def test_cpus_of_this_machine_are_the_default() -> None:
    assert Settings.from_environ({}).workers >= 1


@pytest.mark.parametrize(
    ("memory_mb", "workers", "expected"), [(256, 4, 16), (4096, 2, 256), (65536, 2, 1024)]
)
def test_what_bodies_may_inflate_to_fits_the_memory(memory_mb: int, workers: int, expected: int) -> None:
    environ = {"SAGEMAKER_GUNICORN_WORKERS": str(workers)}
    assert Settings.from_environ(environ, 1, memory_mb << 20).max_inflated_mb == expected


def test_model_directory_follows_the_base_directory() -> None:
    assert parse().model_dir == Path("/opt/ml/model")
    assert parse(SAGEMAKER_BASE_DIR="/srv").model_dir == Path("/srv/model")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SAGEMAKER_BASE_DIR", "/srv/a b", Path("/srv/a b")),
        ("SAGEMAKER_BIND_TO_PORT", "65535", 65535),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000-9999", (9000, 9999)),
        ("SAGEMAKER_SAFE_PORT_RANGE", " 9000 - 9000 ", (9000, 9000)),
        ("SAGEMAKER_MULTI_MODEL", "true", True),
        ("SAGEMAKER_MULTI_MODEL", "True", True),
        ("SAGEMAKER_MULTI_MODEL", "TRUE", True),
        ("SAGEMAKER_MULTI_MODEL", "False", False),
        ("SAGEMAKER_MULTI_MODEL", " true\n", True),
        ("SAGEMAKER_TFS_NGINX_LOGLEVEL", "INFO", "info"),
        ("SAGEMAKER_TFS_EXTRA_ARGS", "--a=1  --b", ("--a=1", "--b")),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "0", 0.0),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "0.99", 0.99),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "0.25", 0.25),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "100", 100.0),
        ("SAGEMAKER_TFS_CAPTURE_DIR", "/captured", Path("/captured")),
        ("SAGEMAKER_TFS_INTER_OP_PARALLELISM", "0", 0),
        ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "0.5", 0.5),
        ("SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS", "0", 0),
        ("SAGEMAKER_TFS_NUM_BATCH_THREADS", "7", 7),
        ("SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES", "9", 9),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", "1,2, 8", (1, 2, 8)),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", "16", (16,)),
        ("SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING", "true", True),
        ("SAGEMAKER_TFS_PAD_VARIABLE_LENGTH_INPUTS", "true", True),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0", 0),
        ("SAGEMAKER_GUNICORN_WORKERS", "5", 5),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "5", 5),
        ("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS", "90", 90),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "90", 90),
        ("SAGEMAKER_GUNICORN_LOGLEVEL", "debug", logging.DEBUG),
        ("SAGEMAKER_GUNICORN_LOGLEVEL", "Warning", logging.WARNING),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "20", logging.INFO),
        ("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "half plus two", "half plus two"),
        ("SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT", "2.5", 2.5),
        ("OMP_NUM_THREADS", "4", 4),
    ],
)
def test_values(name: str, text: str, value: object) -> None:
    assert value_of(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "0", "1 to 65535"),
        ("SAGEMAKER_BIND_TO_PORT", "65536", "1 to 65535"),
        ("SAGEMAKER_BIND_TO_PORT", "http", "1 to 65535"),
        ("SAGEMAKER_BIND_TO_PORT", "٨٠٨٠", "1 to 65535"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000", "9000-9999"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9001-9000", "9000-9999"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000-", "9000-9999"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "1-2-3", "9000-9999"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000-65536", "9000-9999"),
        ("SAGEMAKER_MULTI_MODEL", "yes", "true or false"),
        ("SAGEMAKER_MULTI_MODEL", "1", "true or false"),
        ("SAGEMAKER_TFS_ENABLE_BATCHING", "on", "true or false"),
        ("SAGEMAKER_BATCH", "0", "true or false"),
        ("SAGEMAKER_TFS_NGINX_LOGLEVEL", "warning", "warn"),
        ("SAGEMAKER_TFS_NGINX_LOGLEVEL", "error; daemon on", "debug"),
        ("SAGEMAKER_TFS_INSTANCE_COUNT", "0", "from 1 to"),
        ("SAGEMAKER_TFS_INSTANCE_COUNT", "-1", "from 1 to"),
        ("SAGEMAKER_TFS_INSTANCE_COUNT", "1.5", "from 1 to"),
        ("SAGEMAKER_TFS_INSTANCE_COUNT", "9" * 5000, "from 1 to"),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "1", "from 0"),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "-0.1", "from 0"),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "nan", "from 0"),
        ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "20%", "from 0"),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "5%", "from 0 to 100"),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "nan", "from 0 to 100"),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "100.01", "from 0 to 100"),
        ("SAGEMAKER_TFS_CAPTURE_PERCENT", "0.001", "two decimals"),
        ("SAGEMAKER_TFS_CAPTURE_DIR", "captured", "an absolute path"),
        ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "0", "seconds"),
        ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "inf", "seconds"),
        ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "nan", "seconds"),
        ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "5m", "seconds"),
        ("SAGEMAKER_TFS_MAX_BATCH_SIZE", "0", "from 1 to"),
        ("SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS", "-1", "from 0 to"),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", "1,2,2", "such as 1,2,4,8"),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", "0,2", "such as 1,2,4,8"),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", "1;2", "such as 1,2,4,8"),
        ("SAGEMAKER_TFS_ALLOWED_BATCH_SIZES", ",", "such as 1,2,4,8"),
        (
            "SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE",
            "4",
            "needs SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING=true",
        ),
        ("SAGEMAKER_GUNICORN_WORKERS", "0", "from 1 to"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "two", "from 1 to"),
        ("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS", "-60", "seconds"),
        ("SAGEMAKER_GUNICORN_LOGLEVEL", "chatty", "debug"),
        ("OMP_NUM_THREADS", "0", "from 1 to"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_is_wanted(name: str, text: str, hint: str) -> None:
    [problem] = problems(**{name: text})
    assert problem.startswith(f"{name}=")
    assert hint in problem


def test_batching_that_the_model_server_would_refuse_is_refused() -> None:
    sizes, largest, execution = (
        f"SAGEMAKER_TFS_{name}"
        for name in ("ALLOWED_BATCH_SIZES", "MAX_BATCH_SIZE", "MAX_EXECUTION_BATCH_SIZE")
    )
    assert parse(**{sizes: "2,4"}).max_batch_size == 4
    assert parse(**{sizes: "2,4", largest: "4"}).max_batch_size == 4
    assert problems(**{sizes: "2,4", largest: "8"}) == [f"{sizes}='2,4' must end with {largest}, 8"]
    split = {"SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING": "true"}
    assert parse(**split, **{execution: "8"}).max_execution_batch_size == 8
    assert problems(**split, **{execution: "9"}) == [f"{execution}='9' must not be larger than {largest}, 8"]


def test_all_bad_values_are_listed_at_once() -> None:
    found = problems(
        SAGEMAKER_BIND_TO_PORT="x",
        SAGEMAKER_BATCH="maybe",
        SAGEMAKER_TFS_MAX_BATCH_SIZE="4",
        OMP_NUM_THREADS="",
    )
    assert [line.split("=")[0] for line in found] == ["SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_BATCH"]


def test_the_error_itself_reads_well() -> None:
    with pytest.raises(SettingsError, match="SAGEMAKER_BATCH='maybe' must be true or false"):
        parse(SAGEMAKER_BATCH="maybe")


@pytest.mark.parametrize("name", sorted(FIELDS))
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_counts_as_unset(name: str, text: str) -> None:
    assert parse(**{name: text}) == parse()


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        ("SAGEMAKER_GUNICORN_WORKERS", "SAGEMAKER_MODEL_SERVER_WORKERS", ("2", "4")),
        ("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS", "SAGEMAKER_MODEL_SERVER_TIMEOUT", ("2", "4")),
        ("SAGEMAKER_GUNICORN_LOGLEVEL", "SAGEMAKER_CONTAINER_LOG_LEVEL", ("error", "10")),
    ],
)
def test_of_two_names_the_first_that_is_set_wins(first: str, second: str, values: tuple[str, str]) -> None:
    field = FIELDS[first]
    assert FIELDS[second] == field
    both = parse(**{first: values[0], second: values[1]})
    assert getattr(both, field) == value_of(first, values[0])
    assert getattr(parse(**{first: "", second: values[1]}), field) == value_of(second, values[1])


def test_nginx_waits_longer_than_a_request_may_take() -> None:
    assert parse(SAGEMAKER_MODEL_SERVER_TIMEOUT="120").proxy_read_timeout > 120


def test_a_lower_wait_of_nginx_is_raised_and_a_higher_one_is_kept() -> None:
    name = "SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS"
    assert parse(**{name: "10"}).proxy_read_timeout > 60
    assert parse(**{name: "600"}).proxy_read_timeout == 600


def test_a_request_of_a_batch_transform_may_take_as_long_as_the_platform_waits() -> None:
    batch = parse(SAGEMAKER_BATCH="true")
    assert batch.request_timeout == 600
    assert batch.proxy_read_timeout > 600
    assert parse(SAGEMAKER_BATCH="true", SAGEMAKER_MODEL_SERVER_TIMEOUT="90").request_timeout == 90
    assert parse(SAGEMAKER_BATCH="false").request_timeout == 60


def test_batch_transform_may_queue_without_limit() -> None:
    assert parse(SAGEMAKER_BATCH="true").max_enqueued_batches == 100_000_000
    assert parse(SAGEMAKER_BATCH="true", SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES="5").max_enqueued_batches == 5


def test_an_accelerator_allows_longer_grpc_calls() -> None:
    name = "SAGEMAKER_INFERENCE_ACCELERATOR_PRESENT"
    assert parse(**{name: "true"}).grpc_timeout == 30
    assert parse(**{name: "true"}, SAGEMAKER_TFS_GRPC_REQUEST_TIMEOUT="7").grpc_timeout == 7


def test_variables_that_have_no_effect_are_named() -> None:
    found = parse(SAGEMAKER_GUNICORN_THREADS="8", SAGEMAKER_GUNICORN_WORKER_CLASS="sync")
    assert found.ignored == ("SAGEMAKER_GUNICORN_THREADS", "SAGEMAKER_GUNICORN_WORKER_CLASS")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse().port = 1  # type: ignore[misc]


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=12)))
def test_any_text_is_either_used_or_refused_by_its_name(environ: dict[str, str]) -> None:
    refused: list[str] = []
    try:
        Settings.from_environ(environ, cpus=1)
    except SettingsError as error:
        refused = error.problems
    assert {problem.split("=")[0] for problem in refused} <= set(environ)


def test_every_variable_has_a_row_in_the_table() -> None:
    table = settings.markdown_table()
    for name in FIELDS:
        assert f"`{name}`" in table
    assert {row.count("|") for row in table.splitlines()} == {4}


@pytest.mark.parametrize(
    ("text", "newest"), [("all", None), ("latest", 1), ("latest:1", 1), ("latest:12", 12)]
)
def test_version_policy(text: str, newest: int | None) -> None:
    assert Settings.from_environ({"SAGEMAKER_TFS_VERSION_POLICY": text}, cpus=1).newest_versions == newest


@pytest.mark.parametrize("text", ["latest:0", "latest:", "newest", "1", "specific:1", "latest:-1"])
def test_version_policies_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="must be "):
        Settings.from_environ({"SAGEMAKER_TFS_VERSION_POLICY": text}, cpus=1)


@pytest.mark.parametrize(("text", "address"), [("localhost", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")])
def test_bind_address(text: str, address: str) -> None:
    assert Settings.from_environ({"SAGEMAKER_TFS_BIND_ADDRESS": text}, cpus=1).bind_address == address


@pytest.mark.parametrize("text", ["::", "example.com", "127.0.0.1:80", "1.2.3"])
def test_bind_addresses_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="must be an IPv4 address"):
        Settings.from_environ({"SAGEMAKER_TFS_BIND_ADDRESS": text}, cpus=1)


def test_readme_has_the_table() -> None:
    _, _, rest = PAGE.read_text().partition("<!-- settings -->\n")
    table, marker, _ = rest.partition("<!-- /settings -->")
    assert marker, "settings.md needs the lines <!-- settings --> and <!-- /settings -->"
    assert table == settings.markdown_table(), "put the output of `python -m tfsd.settings` there"
