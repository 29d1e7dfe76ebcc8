"""Every pattern and every limit of the two service models can be told to a client."""

from __future__ import annotations

import re

import pytest

from tfsd.sagemaker import patterns
from tfsd.sagemaker.instances.images import is_ours


@pytest.mark.parametrize("service", ["sagemaker", "sagemaker-runtime"])
def test_every_pattern_of_the_service_model_is_understood(service: str) -> None:
    from botocore.loaders import Loader

    shapes = Loader().load_service_model(service, "service-2")["shapes"]
    patterns_of_shapes = {shape["pattern"] for shape in shapes.values() if "pattern" in shape}
    not_understood = {pattern for pattern in patterns_of_shapes if patterns.compiled(pattern) is None}
    assert all("${1," in pattern for pattern in not_understood), not_understood  # which Java refuses too


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"\p{ASCII}*", "a b", True),
        (r"\p{ASCII}*", "ä", False),
        (r"\A\S[\p{Print}]*\z", "a b", True),
        (r"\A\S[\p{Print}]*\z", " a", False),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 1", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "a#b", False),
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "a-b", True),
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "a_b", False),
        (r"[\S]+", "a/b:1", True),
    ],
)
def test_patterns_mean_what_java_means(pattern: str, text: str, fits: bool) -> None:
    compiled = patterns.compiled(pattern)
    assert isinstance(compiled, re.Pattern)
    assert bool(compiled.fullmatch(text)) == fits


@pytest.mark.parametrize(
    ("image", "ours"),
    [
        ("520713654638.dkr.ecr.us-west-2.amazonaws.com/sagemaker-tensorflow-serving:1.12.0-gpu", True),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/tensorflow-inference:2.16-cpu", True),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/tensorflow-inference-eia:1.14-cpu", True),
        ("520713654638.dkr.ecr.us-west-2.amazonaws.com/sagemaker-tensorflow:1.10.0-cpu-py2", True),
        ("localhost:5000/sagemaker-tensorflow-serving@sha256:abc", True),
        ("sagemaker-tensorflow-serving", True),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-inference:2.0", False),
        ("example.com/my-tensorflow-inference-thing:1", False),
    ],
)
def test_images_that_run_as_our_stack(image: str, ours: bool) -> None:
    assert is_ours(image) == ours
