"""Properties of the routing script, in a real nginx: whatever it sends straight on, a worker would have too."""

from __future__ import annotations

import functools
import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.router import HTTP, WORKER, Ask, invoke, path_of
from tfsd import attributes
from tfsd.errors import BadRequest


@pytest.fixture(scope="module")
def asks(start_each_nginx: Callable[[str], list[http.client.HTTPConnection]]) -> list[Ask]:
    return [functools.partial(invoke, connection) for connection in start_each_nginx(HTTP)]


@settings(max_examples=150)
@given(
    header=st.lists(
        st.builds(
            "".join,
            st.tuples(
                st.sampled_from(["", " ", "x-", "note="]),
                st.sampled_from(["tfs-model-name", "TFS-Method", "tfs-model-version", "tfs-other", "note"]),
                st.sampled_from(["=", " = ", "", "=="]),
                st.sampled_from(["half", "own", "1", "123", "01", "predict", "classify", "a%20b", "", "x y"]),
                st.sampled_from(["", " ", "\t", ";"]),
            ),
        ),
        max_size=4,
    ).map(",".join)
)
def test_the_worker_would_have_read_the_same(asks: list[Ask], header: str) -> None:
    for ask in asks:
        the_worker_would_have_read_the_same(ask(attributes=header), header)


def the_worker_would_have_read_the_same(answer: str, header: str) -> None:
    if answer == WORKER:
        return
    try:
        name, version, method, *of_arrays = attributes.parse(header)
    except BadRequest as error:
        pytest.fail(f"a worker would have refused this: {error}")
    assert not any(of_arrays)
    quoted = (name or "half").replace("%", "%25")
    part = "" if version is None else f"/versions/{version}"
    assert path_of(answer) == f"/v1/models/{quoted}{part}:{method}"


SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-1e3, 1e3) | st.text(max_size=6)
PUNCTUATION = st.text(alphabet='{}[]",: \n\\ab', max_size=8)
KEYS = st.sampled_from(["instances", "inputs", "examples", "signature_name", "context", "x"]) | PUNCTUATION
VALUES = st.recursive(
    SCALARS | PUNCTUATION,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
NATIVE_DOCUMENTS = st.builds(
    lambda key, value, more: {key: value, **more},
    st.sampled_from(["instances", "inputs", "examples", "signature_name"]),
    VALUES,
    st.dictionaries(KEYS, VALUES, max_size=2),
)
TEXTS = st.builds(
    lambda document, indent, ascii_only: json.dumps(document, indent=indent, ensure_ascii=ascii_only),
    NATIVE_DOCUMENTS | VALUES,
    st.sampled_from([None, 0, 1]),
    st.booleans(),
)
SEPARATORS = st.sampled_from(["", " ", "\n", "\r\n", ",", "]", "}", "],", "},", "\ufeff", "\u00a0", "x"])
BODIES = st.lists(st.tuples(SEPARATORS, TEXTS), min_size=1, max_size=3).map(
    lambda parts: "".join(separator + text for separator, text in parts)
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A body with a few characters taken out, put in or doubled."""
    text = draw(BODIES)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PUNCTUATION) + text[at + draw(st.integers(0, 2)) :]
    return text


def first_document(text: str) -> tuple[Any, str] | None:
    """The JSON document with which `text` begins, and the rest; None when it begins with none."""
    begun = text.lstrip(" \t\r\n")
    try:
        document, end = json.JSONDecoder(strict=False).raw_decode(begun)
    except json.JSONDecodeError:
        return None
    return document, begun[end:]


@settings(max_examples=500)
@given(text=damaged())
def test_nothing_but_one_native_document_goes_direct(asks: list[Ask], text: str) -> None:
    """A model server refuses what does not begin with a document, and ignores what follows one."""
    if {ask(text.encode(errors="surrogatepass")) for ask in asks} == {WORKER}:
        return
    found = first_document(text)
    if found is not None:
        document, rest = found
        assert not rest.strip(" \t\r\n")
        assert isinstance(document, dict)
        assert not {"instances", "inputs", "examples"}.isdisjoint(document)
