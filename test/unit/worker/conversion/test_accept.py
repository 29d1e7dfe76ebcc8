"""Accept headers: what the client gets for each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.worker.conversion.accept import NotAcceptable
from tfsd.worker.conversion.convert import response_type

JSON, LINES, NDJSON, CSV = "application/json", "application/jsonlines", "application/x-ndjson", "text/csv"
NPY, NPZ = "application/x-npy", "application/x-npz"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("text/csv", CSV),
        (" TEXT/CSV ;header=absent", CSV),
        ("text/csv, application/json", CSV),
        ("application/json, text/csv", JSON),
        ("application/json,*/*", JSON),
        ("*/*, text/csv", CSV),
        ("application/jsonlines", LINES),
        ("application/x-ndjson", NDJSON),
        ("text/*", CSV),
        ("application/*", JSON),
        ("image/png, text/*;q=0.5, */*;q=0.1", CSV),
        ("text/csv;q=0.1, application/json;q=0.9", JSON),
        ("text/csv;q=0.5, application/jsonlines;q=0.500, application/json;Q=0.4", CSV),
        ("text/csv;q=0, */*", JSON),
        ("application/json;q=0, application/*", LINES),
        ("*/*;q=0", JSON),
        ("text/csv; q=high", CSV),
        ("image/png, text/csv;q=0.1", CSV),
        ("application/x-npy, text/csv;q=0.1", NPY),
        ("text/csv;q=0.1, application/x-npz;q=0.2", NPZ),
        ("image/png", JSON),
        ("text/csvx", JSON),
        (",;q=,/,", JSON),
    ],
)
def test_preference(accept: str | None, expected: str) -> None:
    assert response_type(accept, JSON) == expected


@pytest.mark.parametrize(
    ("accept", "default", "expected"),
    [
        (None, CSV, CSV),
        ("*/*", CSV, CSV),
        ("*/*;q=0.8", CSV, CSV),
        ("text/html, */*", "application/jsonlines", LINES),
        ("application/*", NDJSON, NDJSON),
        ("application/*", CSV, JSON),
        ("application/json", CSV, JSON),
        ("image/png", CSV, JSON),
        (None, "image/png", JSON),
        (None, "application/x-npy", NPY),
        (None, "", JSON),
        (None, "Text/CSV; header=absent", CSV),
    ],
)
def test_default_is_for_who_has_no_preference(accept: str | None, default: str, expected: str) -> None:
    assert response_type(accept, default) == expected


@pytest.mark.parametrize(
    ("accept", "strict"),
    [
        ("image/png", True),
        ("*/*;q=0", True),
        ("application/x-npy;q=0, image/png", True),
    ],
)
def test_what_is_not_produced_is_not_acceptable(accept: str, strict: bool) -> None:
    with pytest.raises(NotAcceptable, match="text/csv") as refused:
        response_type(accept, JSON, strict)
    assert refused.value.status == 406


@given(st.one_of(st.text(), st.text(alphabet="*/;,=q.01 atext/csv")), st.text())
def test_any_header_gives_a_type_that_is_produced(accept: str, default: str) -> None:
    assert response_type(accept, default) in (JSON, LINES, NDJSON, CSV, "application/jsons", NPY, NPZ)
