"""The command line as users of tensorflow_model_server know it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server import flags

OWN_FLAGS = ["host", "start_despite_load_errors", "op_libraries"]


def test_defaults_are_those_of_the_real_server() -> None:
    options = flags.parse([])
    assert options.port == 8500
    assert options.rest_api_port == 0
    assert options.model_name == "default"
    assert options.max_num_load_retries == 5
    assert options.load_retry_interval_micros == 60_000_000
    assert options.grpc_max_threads == 4 * flags.cpus()
    assert options.enable_model_warmup is True
    assert options.given == frozenset()
    assert len(flags.table()) == 48 + len(OWN_FLAGS)


def test_flags_of_our_own_are_told_apart() -> None:
    own = [flag for flag in flags.table() if "Only this server has this flag." in flag.text]
    assert [flag.name for flag in own] == OWN_FLAGS


@pytest.mark.parametrize(
    ("argument", "value"),
    [("--enable_batching", True)]
    + [(f"--enable_batching={text}", True) for text in ("true", "True", "1")]
    + [(f"--enable_batching={text}", False) for text in ("false", "False", "0")],
)
def test_bools(argument: str, value: bool) -> None:
    assert flags.parse([argument]).enable_batching is value


@pytest.mark.parametrize(
    "argument",
    [
        "--port=abc",
        "--port=",
        "--port=1.5",
        "--port=2147483648",
        "--load_retry_interval_micros=9223372036854775808",
        "--enable_batching=yes",
        "--enable_batching=",
        "--per_process_gpu_memory_fraction=much",
        "--help",
    ],
)
def test_bad_values_and_help_are_refused(argument: str) -> None:
    with pytest.raises(flags.FlagError):
        flags.parse([argument])


@pytest.mark.parametrize(
    "arguments",
    [["--nosuchflag=1"], ["-port=1"], ["--port", "1"], ["positional"], ["--port"], ["--no_port=1"]],
)
def test_what_is_no_flag_is_kept_but_not_fatal(arguments: list[Any]) -> None:
    options = flags.parse([*arguments, "--rest_api_port=2"])
    assert options.unknown == arguments[0]
    assert options.port == 8500
    assert options.rest_api_port == 2


def test_the_last_of_two_values_holds() -> None:
    assert flags.parse(["--port=1", "--port=2"]).port == 2


def test_values_may_contain_equal_signs() -> None:
    assert flags.parse(["--grpc_channel_arguments=a=1,b=2"]).grpc_channel_arguments == "a=1,b=2"


def test_flags_without_effect_are_named_only_when_given() -> None:
    assert flags.parse(["--port=1"]).without_effect() == []
    assert flags.parse(["--enable_profiler=false", "--port=1"]).without_effect() == ["enable_profiler"]


def test_usage_lists_every_flag_with_its_default() -> None:
    usage = flags.usage("program")
    assert usage.startswith("usage: program\nFlags:\n\t--port=8500                      \tint32\t")
    for flag in flags.table():
        assert f"\t--{flag.name}=" in usage
    assert '\t--saved_model_tags="serve"' in usage
    assert "\t--enable_batching=false" in usage


@given(st.lists(st.text()))
def test_any_command_line_is_parsed_or_refused(arguments: list[Any]) -> None:
    try:
        options = flags.parse(arguments)
    except flags.FlagError:
        return
    for flag in flags.table():
        kind = {"string": str, "bool": bool, "float": float}.get(flag.kind, int)
        assert type(options.values[flag.name]) is kind


@given(st.sampled_from(["port", "load_retry_interval_micros"]), st.integers(-(2**31), 2**31 - 1))
def test_integers_read_back(name: str, value: int) -> None:
    assert getattr(flags.parse([f"--{name}={value}"]), name) == value
