"""Custom attributes: what is read, what is ignored, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.attributes import Attributes, parse
from tfsd.errors import BadRequest


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Attributes(None, None, "predict")),
        ("", Attributes()),
        ("tfs-model-name=half", Attributes("half")),
        (
            "tfs-model-name=half,tfs-model-version=123,tfs-method=classify",
            Attributes("half", 123, "classify"),
        ),
        ("tfs-method=regress,tfs-model-version=123,tfs-model-name=half", Attributes("half", 123, "regress")),
        (" tfs-model-name = half , tfs-method = predict ", Attributes("half")),
        ("TFS-Model-Name=Half,Tfs-METHOD=classify", Attributes("Half", None, "classify")),
        ("tfs-model-version=00000123", Attributes(None, 123)),
        ("tfs-model-version=0", Attributes(None, 0)),
        ("tfs-model-version=9223372036854775807", Attributes(None, 2**63 - 1)),
        ("tfs-model-version=" + "0" * 900 + "7", Attributes(None, 7)),
        ("note=tfs-model-name=x", Attributes()),
        ("trace-id=1;a b,tfs-model-name=a,just words,", Attributes("a")),
        ("tfs-model-name=a=b", Attributes("a=b")),
        ("tfs-model-name=../../etc", Attributes("../../etc")),
        ("tfs-model-name=a,tfs-model-name=a", Attributes("a")),
    ],
)
def test_reads(header: str | None, expected: Attributes) -> None:
    assert parse(header) == expected


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("tfs-model=a", "tfs-model-name=NAME"),
        ("tfs-", "tfs-model-name=NAME"),
        ("tfs-model-name", "tfs-model-name=NAME"),
        ("tfs-model-name=", "tfs-model-name=NAME"),
        ("tfs-model-name:a", "tfs-model-name=NAME"),
        ("tfs-model-version 3", "tfs-model-version=NUMBER"),
        ("tfs-model-version=latest", "whole number"),
        ("tfs-model-version=-1", "whole number"),
        ("tfs-model-version=+1", "whole number"),
        ("tfs-model-version=1.0", "whole number"),
        ("tfs-model-version=²", "whole number"),
        ("tfs-model-version=9223372036854775808", "9223372036854775807"),
        ("tfs-model-version=" + "9" * 5000, "whole number"),
        ("tfs-method=explain", "predict, classify, regress"),
        ("tfs-method=predict/../../x", "predict, classify, regress"),
        ("tfs-model-name=a,TFS-MODEL-NAME=b", "'a'"),
        ("a=b,tfs-metod=classify", "tfs-metod=classify"),
    ],
)
def test_refuses_and_says_what_exists(header: str, told: str) -> None:
    with pytest.raises(BadRequest, match="X-Amzn-SageMaker-Custom-Attributes") as refused:
        parse(header)
    assert refused.value.status == 400
    assert told in refused.value.message


@given(st.text())
def test_any_header_is_read_or_refused(header: str) -> None:
    try:
        attributes = parse(header)
    except BadRequest:
        return
    assert attributes.method in ("predict", "classify", "regress")
