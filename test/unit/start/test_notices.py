"""What the log says once at start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfsd.stack.design import Stack
from tfsd.start import notices


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("SAGEMAKER_TFS_ENABLE_BATCH", "SAGEMAKER_TFS_ENABLE_BATCHING"),
        ("SAGEMAKER_TFS_INSTANCES_COUNT", "SAGEMAKER_TFS_INSTANCE_COUNT"),
        ("SAGEMAKER_TFS_MODEL_SERVER_TIMEOUT", "SAGEMAKER_MODEL_SERVER_TIMEOUT"),
        ("SAGEMAKER_TFS_DEFAULT_MODELNAME", "SAGEMAKER_TFS_DEFAULT_MODEL_NAME"),
    ],
)
def test_a_name_that_is_nearly_ours(name: str, right: str) -> None:
    assert list(notices.near_misses({name: "1"})) == [
        f"{name} is no setting and has no effect; did you mean {right}?"
    ]


def test_other_names_are_nobodys_business() -> None:
    names = (
        "SAGEMAKER_TFS_ENABLE_BATCHING",
        "SAGEMAKER_TFS_COLOUR",
        "SAGEMAKER_REGION",
        "TFS_ENABLE_BATCHING",
    )
    assert not list(notices.near_misses(dict.fromkeys(names, "1")))


def test_scripts_that_do_not_run(tmp_path: Path) -> None:
    for name in ("a/entry.py", "a/util.py", "b/inference.py", "c/requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    [line] = notices.other_scripts([tmp_path / name for name in "abcd"], "inference.py")
    assert line.startswith(f"{tmp_path / 'a'} has no inference.py, ")
    assert "it has entry.py, util.py: set SAGEMAKER_PROGRAM" in line


def test_what_was_rendered(design: Callable[..., Stack]) -> None:
    stack = design(
        {"half": (1,)}, {"SAGEMAKER_TFS_ENABLE_BATCHING": "true", "SAGEMAKER_TFS_MAX_BATCH_SIZE": "16"}
    )
    lines = list(notices.rendered(stack.run_dir, stack.files()))
    assert "max_batch_size { value: 16 }" in lines
    assert lines[-2:] == ["error_log stderr error;", "proxy_read_timeout 62s;"]
