"""From a ModelServerConfig message to the models to serve, with TensorFlow Serving's checks and texts.

Never imports TensorFlow: a bad configuration is reported before it loads.
"""

from __future__ import annotations

import re
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.versions import ModelConfig, VersionPolicy

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PLATFORM = "tensorflow"


def single_model(name: str, base_path: str) -> Any:
    """The ModelServerConfig that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=_PLATFORM)
    return config


def models(config: Any, served: frozenset[str] = frozenset()) -> list[ModelConfig]:
    """The models of a ModelServerConfig whose config is a `model_config_list`.

    Args:
        served: the names of the models now served, all of them on the one platform that there is.
    Raises ServingError: a name given twice, a relative path, a platform that is missing or unknown.
    """
    listed = config.model_config_list.config
    _check_names(listed)
    for model in listed:
        if not (model.base_path.startswith("/") or _URI.match(model.base_path)):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    for model in listed:
        platform = _platform(model)
        if platform == _PLATFORM:
            continue
        if model.name in served:
            raise invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {_PLATFORM} and "
                f"new platform requested is {platform}"
            )
        raise invalid(f"Model {model.name} requests unsupported platform {platform}")
    return [_model(model) for model in listed]


def check_labels(
    configs: list[ModelConfig],
    available: set[tuple[str, int]],
    current: dict[str, dict[str, int]],
    lenient: bool,
) -> dict[str, dict[str, int]]:
    """The labels of a new configuration: model -> label -> version.

    Args:
        available: the (model, version) pairs that can serve now.
        current: the labels that hold now.
        lenient: --allow_version_labels_for_unavailable_models: a label that is new to its model may point to
            a version that is not available.
    Raises ServingError: FAILED_PRECONDITION.
    """
    labels: dict[str, dict[str, int]] = {}
    for config in configs:
        for label, version in config.labels:
            known = current.get(config.name, {}).get(label, version)
            if (config.name, version) not in available and not (lenient and known == version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {config.name}, which is not "
                    "currently available for inference",
                )
            labels.setdefault(config.name, {})[label] = version
    return labels


def _check_names(listed: Any) -> None:
    seen = set()
    for model in listed:
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)


def _platform(model: Any) -> str:
    kind = model.model_type
    if kind == model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if not model.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        return model.model_platform
    if model.model_platform:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if kind == model_server_config_pb2.TENSORFLOW:
        return _PLATFORM
    raise invalid(
        f"ModelServerConfig::model_type choice {model_server_config_pb2.ModelType.Name(kind)} unsupported"
    )


def _model(model: Any) -> ModelConfig:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        wanted = VersionPolicy(all=True)
    elif choice == "specific":
        wanted = VersionPolicy(specific=tuple(policy.specific.versions))
    else:
        wanted = VersionPolicy(latest=policy.latest.num_versions or 1)
    return ModelConfig(model.name, model.base_path, wanted, tuple(sorted(model.version_labels.items())))
