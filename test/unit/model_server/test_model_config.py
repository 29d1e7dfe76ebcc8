"""From ModelServerConfig to models: checks and their texts."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfsd.model_server import model_config
from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.versions import ModelConfig, VersionPolicy


def models(text: str, served: frozenset[str] = frozenset()) -> list[ModelConfig]:
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(f"model_config_list {{ {text} }}", config)
    return model_config.models(config, served)


GOOD = "name: 'a' base_path: '/a' model_platform: 'tensorflow'"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", VersionPolicy()),
        ("model_version_policy { }", VersionPolicy()),
        ("model_version_policy { latest { num_versions: 3 } }", VersionPolicy(latest=3)),
        ("model_version_policy { latest { } }", VersionPolicy()),
        ("model_version_policy { all { } }", VersionPolicy(all=True)),
        ("model_version_policy { specific { versions: 2 versions: 1 } }", VersionPolicy(specific=(2, 1))),
    ],
)
def test_policies(policy: str, expected: VersionPolicy) -> None:
    [model] = models(f"config {{ {GOOD} {policy} }}")
    assert model == ModelConfig("a", "/a", expected)


def test_labels_and_deprecated_type() -> None:
    text = (
        "config { name: 'a' base_path: 'gs://a' model_type: TENSORFLOW version_labels { key: 'x' value: 4 } }"
    )
    [model] = models(text)
    assert model.base_path == "gs://a"
    assert model.labels == (("x", 4),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"config {{ {GOOD} }} config {{ {GOOD} }}", "Illegal to list model a multiple times in config list"),
        (
            "config { name: 'a' base_path: 'rel/a' model_platform: 'tensorflow' }",
            "Expected model a to have an absolute path or URI; got base_path()=rel/a",
        ),
        (
            "config { name: 'a' model_platform: 'tensorflow' }",
            "Expected model a to have an absolute path or URI; got base_path()=",
        ),
        (
            "config { name: 'a' base_path: '/a' }",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (
            "config { name: 'a' base_path: '/a' model_platform: 'pytorch' }",
            "Model a requests unsupported platform pytorch",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ServingError) as refusal:
        models(text)
    assert refusal.value.code is Code.INVALID_ARGUMENT
    assert refusal.value.message == message


def test_a_served_model_keeps_its_platform() -> None:
    with pytest.raises(ServingError, match="Illegal to change a model's platform"):
        models("config { name: 'a' base_path: '/a' model_platform: 'pytorch' }", frozenset({"a"}))


def check(available: set[Any], current: dict[str, Any], lenient: bool) -> dict[str, Any] | None:
    configs = [ModelConfig("a", "/a", labels=(("x", 2),))]
    return model_config.check_labels(configs, available, current, lenient)


def test_a_label_needs_an_available_version() -> None:
    assert check({("a", 2)}, {}, False) == {"a": {"x": 2}}
    with pytest.raises(ServingError) as refusal:
        check({("a", 1)}, {}, False)
    assert refusal.value.code is Code.FAILED_PRECONDITION
    assert refusal.value.message == (
        "Request to assign label to version 2 of model a, which is not currently available for inference"
    )


def test_lenient_labels_may_be_new_but_not_move_to_what_is_not_available() -> None:
    assert check(set(), {}, True) == {"a": {"x": 2}}
    assert check(set(), {"a": {"x": 2}}, True) == {"a": {"x": 2}}
    with pytest.raises(ServingError):
        check({("a", 1)}, {"a": {"x": 1}}, True)
    assert check({("a", 2)}, {"a": {"x": 1}}, True) == {"a": {"x": 2}}
