"""Bodies that are mostly brackets: what is read in one piece means the same, and what is refused costs nothing."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_server.codec import decode, dense
from tfsd.model_server.codec.codec import decode_predict, parse
from tfsd.model_server.codec.dense import MAX_EMPTY, collector_at_rest, read_flat
from tfsd.model_server.codec.parse import parse as parse_bytes
from tfsd.model_server.errors import ServingError

FLOAT, INT, BOOL = 1, 9, 10
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
EDITS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from('[],1 -.e"{}tN')), max_size=3)


@pytest.fixture(autouse=True)
def small_bodies_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "LARGE_BYTES", 0)


@given(
    shape=SHAPES,
    key=st.sampled_from(["instances", "inputs"]),
    members=st.permutations([{}, {"signature_name": "s"}]),
    edits=EDITS,
    dtype=st.sampled_from([FLOAT, INT]),
)
def test_a_body_is_read_as_the_careful_reader_reads_it(
    shape: tuple[int, ...],
    key: str,
    members: list[dict[str, str]],
    edits: list[tuple[int, str]],
    dtype: int,
) -> None:
    """Whatever is put into the text of a regular array: the same arrays, or it is left to the careful reader."""
    text = json.dumps(members[0] | {key: np.arange(np.prod(shape)).reshape(shape).tolist()} | members[1])
    for at, letter in edits:
        text = text[: at % len(text)] + letter + text[at % len(text) :]
    body = text.encode()
    found = read_flat(body, lambda _: {"x": dtype})
    try:
        wanted = decode.decode_predict(parse_bytes(body), lambda _: {"x": dtype})
    except ServingError:
        assert found is None
        return
    if not edits:
        assert found is not None
    if found is not None:
        assert found[:2] == wanted[:2]
        np.testing.assert_array_equal(found[2]["x"], wanted[2]["x"])
        assert found[2]["x"].dtype == wanted[2]["x"].dtype


@given(shape=SHAPES)
def test_the_shape_of_a_regular_array_is_found(shape: tuple[int, ...]) -> None:
    body = json.dumps({"instances": np.zeros(shape).tolist()}).encode()
    found = read_flat(body, lambda _: {"x": FLOAT})
    assert found is not None
    assert found[2]["x"].shape == shape


@pytest.mark.parametrize(
    "value",
    ["[[1],[1,2]]", "[[1],2]", "[1,[2]]", "[[[1],[2]],[[3]]]", "[[1],[2],]", "[[]]", "[[]0]", "[0[]]"],
)
def test_of_an_irregular_one_there_is_none(value: str) -> None:
    body = f'{{"instances": {value}}}'.encode()
    assert read_flat(body, lambda _: {"x": FLOAT}) is None


def test_booleans_stay_booleans() -> None:
    body = b'{"instances": [[true], [false]]}'
    _, _, arrays = decode_predict(body, lambda _: {"x": BOOL})
    assert arrays["x"].tolist() == [[True], [False]]
    assert read_flat(body, lambda _: {"x": FLOAT}) is None


@pytest.mark.parametrize("piece", ["[]", "{}", "[ \n]", "{\t}"])
def test_so_many_empty_containers_are_refused(piece: str) -> None:
    document = f'{{"instances": [{",".join([piece] * (MAX_EMPTY + 1))}]}}'.encode()
    for read in (parse, lambda body: decode_predict(body, lambda _: {"x": FLOAT})):
        with pytest.raises(ServingError, match="more than 100000 empty"):
            read(document)


def test_brackets_in_texts_are_no_containers() -> None:
    body = json.dumps({"instances": ["[]" * (MAX_EMPTY + 1)]}).encode()
    _, _, arrays = decode_predict(body, lambda _: {"x": 7})
    assert len(arrays["x"][0]) == 2 * (MAX_EMPTY + 1)


def fail_at_rest() -> None:
    with collector_at_rest(1):
        assert not gc.isenabled()
        with collector_at_rest(1):
            pass
        assert not gc.isenabled()
        raise ZeroDivisionError


def test_the_collector_rests_for_one_body_at_a_time_and_works_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        fail_at_rest()
    assert gc.isenabled()
