"""Properties of the routing script, in a real nginx: whatever it sends straight on, a worker would have too."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.router import WORKER, Ask, path_of
from tfsd import attributes
from tfsd.errors import BadRequest


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
def test_the_worker_would_have_read_the_same(ask: Ask, header: str) -> None:
    answer = ask(attributes=header)
    if answer == WORKER:
        return
    try:
        name, version, method = attributes.parse(header)
    except BadRequest as error:
        pytest.fail(f"a worker would have refused this: {error}")
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
SEPARATORS = st.sampled_from(["", " ", "\n", "\r\n", ",", "\ufeff", "\u00a0", "x"])
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


def documents(text: str) -> list[Any] | None:
    """The JSON documents of which `text` consists; None when it consists of anything else."""
    found = []
    at = 0
    blank = re.compile(r"[ \t\r\n]*")
    while (at := blank.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            document, at = json.JSONDecoder(strict=False).raw_decode(text, at)
        except json.JSONDecodeError:
            return None
        found.append(document)
    return found


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=damaged())
def test_nothing_but_one_native_document_goes_direct(ask: Ask, text: str) -> None:
    """What is no JSON at all may go either way: worker and model server both refuse it."""
    if ask(text.encode(errors="surrogatepass")) == WORKER:
        return
    found = documents(text)
    if found is not None:
        assert len(found) == 1
        assert isinstance(found[0], dict)
        assert not {"instances", "inputs", "examples"}.isdisjoint(found[0])
