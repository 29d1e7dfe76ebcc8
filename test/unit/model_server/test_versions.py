"""Which versions a directory and a policy ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.versions import ModelConfig, VersionPolicy, find_versions


def found(children: list[Any] | None, policy: VersionPolicy = VersionPolicy()) -> Any:  # noqa: B008
    return find_versions(ModelConfig("m", "/base", policy), lambda path: children)


def test_the_newest_version_is_the_default() -> None:
    assert found(["1", "10", "9", "tmp", "2x"]).versions == {10: "/base/10"}


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (VersionPolicy(latest=2), [2, 3]),
        (VersionPolicy(latest=0), [3]),
        (VersionPolicy(latest=9), [1, 2, 3]),
        (VersionPolicy(all=True), [1, 2, 3]),
        (VersionPolicy(specific=(1, 3)), [1, 3]),
    ],
)
def test_policies(policy: VersionPolicy, versions: list[Any]) -> None:
    assert sorted(found(["1", "2", "3"], policy).versions) == versions


def test_a_specific_version_that_is_missing_is_told() -> None:
    result = found(["1"], VersionPolicy(specific=(1, 7)))
    assert result.versions == {1: "/base/1"}
    [warning] = result.warnings
    assert warning.startswith(
        "Version 7 of servable m, which was requested to be served as a 'specific' version"
    )


def test_no_version_is_told() -> None:
    result = found(["tmp"])
    assert result.versions == {}
    assert "Did you forget to name your leaf directory as a number (eg. '/1/')?" in result.warnings[0]


def test_a_missing_base_path_is_an_error() -> None:
    with pytest.raises(ServingError) as failure:
        found(None)
    assert failure.value.code is Code.NOT_FOUND
    assert failure.value.message == (
        "Could not find base path /base for servable m with error NOT_FOUND: /base not found"
    )


def test_leading_zeros_and_trailing_slashes() -> None:
    assert found(["000123/"]).versions == {123: "/base/000123"}


@given(st.lists(st.text() | st.integers(-5, 2**70).map(str)))
def test_only_numbers_of_64_bits_are_versions(children: list[Any]) -> None:
    versions = found(children, VersionPolicy(all=True)).versions
    assert all(0 <= version < 2**63 for version in versions)
    expected = {int(c) for c in children if c.isascii() and c.isdecimal() and int(c) < 2**63}
    assert set(versions) == expected
