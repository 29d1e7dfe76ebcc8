"""Strings and base64 objects, looked at together as each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec.dtypes import FLOATS, STRING, numpy_dtype
from tfsd.model_server.codec.octets import encode
from tfsd.model_server.codec.values import Misfit, base64_bytes, narrow, scalars, to_array
from tfsd.model_server.errors import ServingError

TEXTS = (
    st.text("AQz9+/")
    | st.text("AQz9+/=. \n,-é")
    | st.sampled_from(["", "YQ==", "YQ", "YWJj", "YW..", "Y Q ="])
)


def bytes_of(value: Any) -> bytes:
    """A value's bytes. Raises ServingError."""
    return value.encode() if isinstance(value, str) else base64_bytes(encode(value["b64"]))


@given(st.lists(st.text("ab,") | TEXTS.map(lambda text: {"b64": text})))
def test_many_are_read_as_one_is(values: list[Any]) -> None:
    expected: list[bytes] = []
    refused = None
    for value in values:
        try:
            expected.append(bytes_of(value))
        except ServingError as error:
            refused = str(error)
            break
    if refused is None:
        assert scalars(values, STRING) == expected
    else:
        with pytest.raises(Misfit) as caught:
            scalars(values, STRING)
        assert (caught.value.root, str(caught.value.error)) == (len(expected), refused)


@pytest.mark.parametrize("text", ["AAAA=", "AAAA====", "AA=", "AA===", "A", "=", "AA,A"])
def test_padding_is_as_long_as_it_must_be(text: str) -> None:
    with pytest.raises(Misfit) as caught:
        scalars([{"b64": "YQ=="}, {"b64": text}], STRING)
    assert (caught.value.root, caught.value.error.message) == (1, "Unable to base64 decode")


EDGES = [
    0.0,
    -0.0,
    2.0**-126,
    2.0**-127,
    2.0**-149,
    3.4028234663852886e38,
    3.4028235e38,
    1e39,
    2**128,
    -(2**200),
]


@pytest.mark.parametrize("dtype", sorted(FLOATS))
@given(values=st.lists(st.floats() | st.integers(-(2**64), 2**64) | st.sampled_from(EDGES), max_size=20))
def test_few_floats_are_as_many(dtype: int, values: list[float]) -> None:
    many = narrow(np.array(values, np.float64), numpy_dtype(dtype))
    few = to_array(values, dtype)
    assert few.dtype == many.dtype
    assert few.tobytes() == many.tobytes()
