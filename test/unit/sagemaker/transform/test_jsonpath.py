"""The subset of JSONPath against the table and the examples of AWS's guide, and against plain Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.sagemaker.transform import jsonpath
from tfsd.sagemaker.transform.jsonpath import PathError, parse

DOCUMENT = {"id": {"a": 1, "b": 2}, "SageMakerOutput": [0.5], "list": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
ROW = [0, 1, 2, 3, 4, 5, 6, 7]
names = st.text("abcXYZ019-", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", DOCUMENT),
        ("$.id", {"a": 1, "b": 2}),
        ("$.id.*", [1, 2]),
        ("$.id[*]", [1, 2]),
        ("$['id','SageMakerOutput']", {"id": {"a": 1, "b": 2}, "SageMakerOutput": [0.5]}),
        ("$.['id', 'SageMakerOutput']", {"id": {"a": 1, "b": 2}, "SageMakerOutput": [0.5]}),
        ("$['id']", {"a": 1, "b": 2}),
        ("$['id']['a']", 1),
        ("$.id.['a','b']", {"a": 1, "b": 2}),
        ("$.SageMakerOutput[0]", 0.5),
        ("$.list[1].x", 3),
        ("$.list[*].x", [1, 3]),
        ("$.list[0:1].y", [2, 4]),
        ("$.list.*.*", [1, 2, 3, 4]),
    ],
)
def test_objects(path: str, expected: Any) -> None:
    assert parse(path).select(DOCUMENT) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$[1]", 1),
        ("$[-1]", 7),
        ("$[1,3,5]", [1, 3, 5]),
        ("$[0,-1]", [0, 7]),
        ("$[1:4]", [1, 2, 3, 4]),  # "specifies the second through fifth columns"
        ("$[5:]", [5, 6, 7]),  # "from the 6th column through the last column"
        ("$[:5]", [0, 1, 2, 3, 4, 5]),  # "from the first column through the sixth column"
        ("$[0,5:]", [0, 5, 6, 7]),  # an example of DataProcessing's reference
        ("$[-2:]", [6, 7]),
        ("$[1:-1]", [1, 2, 3, 4, 5, 6, 7]),
        ("$[6:99]", [6, 7]),
        ("$[*]", ROW),
    ],
)
def test_rows(path: str, expected: Any) -> None:
    assert parse(path).select(ROW) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "id",
        "$id",
        "$.",
        "$[",
        "$[]",
        "$..id",
        "$['a'",
        "$[a]",
        "$[1:2:3]",
        "$[0:2,5:]",
        "$['a','b'].c",
        "$.a b",
        "$[?(@.a)]",
    ],
)
def test_what_is_not_of_the_subset_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        parse(path)


@pytest.mark.parametrize(
    ("path", "value"), [("$.a", {}), ("$.a", [1]), ("$[8]", ROW), ("$[0]", {}), ("$.*", 5), ("$[-9]", ROW)]
)
def test_what_is_not_there_is_an_error(path: str, value: Any) -> None:
    with pytest.raises(PathError):
        parse(path).select(value)


def test_unsupported_characters() -> None:
    assert jsonpath.unsupported_character("$['account_id']") == "_"
    assert jsonpath.unsupported_character("$['id', 'SageMakerOutput'].*[-1:2]") is None


@given(st.lists(st.integers(), min_size=1, max_size=9), st.data())
def test_slices_mean_what_python_means_but_for_their_end(row: list[int], data: st.DataObject) -> None:
    start, end = (data.draw(st.integers(0, 12)) for _ in range(2))
    assert parse(f"$[{start}:{end}]").select(row) == [x for i, x in enumerate(row) if start <= i <= end]
    index = data.draw(st.integers(-len(row), len(row) - 1))
    assert parse(f"$[{index}]").select(row) == row[index]


@given(st.dictionaries(names, st.integers(), min_size=2), st.data())
def test_names_in_any_notation(value: dict[str, int], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(value)), min_size=2, unique=True))
    for notation in (f"$.{chosen[0]}", f"$['{chosen[0]}']", f"$.['{chosen[0]}']"):
        assert parse(notation).select(value) == value[chosen[0]]
    listed = ",".join(f"'{name}'" for name in chosen)
    assert parse(f"$[{listed}]").select(value) == {name: value[name] for name in chosen}


@given(st.text(jsonpath.ALLOWED + "ab01", max_size=20), st.recursive(st.integers(), st.lists, max_leaves=6))
def test_any_text_is_read_or_refused(text: str, value: Any) -> None:
    try:
        parse(f"${text}").select(value)
    except PathError:
        return
