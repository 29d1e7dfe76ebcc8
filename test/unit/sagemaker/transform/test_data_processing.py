"""Filters and joins against the examples of AWS's guide, and for any records."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.sagemaker.transform import jsonpath
from tfsd.sagemaker.transform.data_processing import DataProcessing
from tfsd.sagemaker.transform.errors import AlgorithmError, DataError
from tfsd.sagemaker.transform.record_formats import Csv, Json, of_content_type

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8)


def processing(
    content_type: str, input_filter: str = "$", output_filter: str = "$", *, join: bool = True
) -> DataProcessing:
    form = of_content_type(content_type, "Line")
    assert form
    return DataProcessing(form, form, jsonpath.parse(input_filter), jsonpath.parse(output_filter), join)


def test_guide_output_input_data_and_inferences() -> None:
    assert list(processing("application/json").finish([b'{"key":1}'], [b'{"label":1}'])) == [
        b'{"key":1,"SageMakerOutput":{"label":1}}'
    ]
    assert list(processing("text/csv").finish([b"1,2,3"], [b"1"])) == [b"1,2,3,1"]


def test_guide_input_that_is_no_object() -> None:
    assert list(processing("application/jsonlines").finish([b"[1, 2]"], [b"3"])) == [
        b'{"SageMakerInput":[1,2],"SageMakerOutput":3}'
    ]


def test_guide_id_column_with_results_and_without_it_in_the_input() -> None:
    job = processing("text/csv", "$[1:]")
    assert list(job.filter_input([b"17,a,b,c,d"])) == [b"a,b,c,d"]
    assert list(job.finish([b"17,a,b,c,d"], [b"0.9"])) == [b"17,a,b,c,d,0.9"]
    assert list(processing("text/csv", "$[1:]", "$[0,-1]").finish([b"17,a,b,c,d"], [b"0.9"])) == [b"17,0.9"]


def test_guide_id_attribute_with_results_and_without_it_in_the_input() -> None:
    job = processing("application/jsonlines", "$.features", "$['id','SageMakerOutput']")
    record = b'{"id": 7, "features": [1.0, 2.0], "note": "x"}'
    assert list(job.filter_input([record])) == [b"[1.0,2.0]"]
    assert list(job.finish([record], [b"[0.5]"])) == [b'{"id":7,"SageMakerOutput":[0.5]}']


def test_without_join_the_output_filter_sees_the_result() -> None:
    job = processing("application/jsonlines", output_filter="$.predictions[0]", join=False)
    assert list(job.finish([], [b'{"predictions": [[1, 2]]}'])) == [b"[1,2]"]


@pytest.mark.parametrize(("inputs", "results"), [([b"1"], []), ([], [b"1"]), ([b"1", b"2"], [b"1"])])
def test_another_number_of_results_is_an_error(inputs: list[bytes], results: list[bytes]) -> None:
    with pytest.raises(AlgorithmError, match="mismatched line count"):
        list(processing("text/csv").finish(inputs, results))


def test_records_that_do_not_fit_are_the_users_and_results_the_containers() -> None:
    with pytest.raises(DataError, match="not JSON"):
        list(processing("application/json", "$.a").filter_input([b"{"]))
    with pytest.raises(DataError, match="no attribute 'features'"):
        list(processing("application/json", "$.features").filter_input([b"{}"]))
    with pytest.raises(AlgorithmError, match="cannot be joined"):
        list(processing("application/json").finish([b"{}"], [b"<html>"]))
    with pytest.raises(DataError, match="does not end"):
        list(processing("text/csv", "$[0]").filter_input([b'"a,b']))


def test_numbers_and_quotes_keep_their_text() -> None:
    assert list(processing("text/csv", "$[1:]").filter_input([b'x,"1",007,"a ""q"", b",1e5,'])) == [
        b'"1",007,"a ""q"", b",1e5,'
    ]
    assert list(
        processing("application/json").finish([b'{"n": 123456789012345678901234567890}'], [b"NaN"])
    ) == [b'{"n":123456789012345678901234567890,"SageMakerOutput":NaN}']


@given(st.lists(fields, min_size=1, max_size=6), st.lists(fields, min_size=1, max_size=3), st.data())
def test_any_csv(row: list[str], result: list[str], data: st.DataObject) -> None:
    """Rows that Python's csv module writes are filtered and joined as it reads them."""
    index = data.draw(st.integers(0, len(row) - 1))
    job = processing("text/csv", f"$[{index}:]")
    written, answered = write(row), write(result)
    assert read(*job.filter_input([written])) == row[index:]
    assert read(*job.finish([written], [answered])) == row + result


@given(json_values, json_values)
def test_any_json(value: Any, result: Any) -> None:
    job = processing("application/json")
    (joined,) = job.finish([json.dumps(value).encode()], [json.dumps(result).encode()])
    expected = {**value, "SageMakerOutput": result} if isinstance(value, dict) else None
    assert json.loads(joined) == (expected or {"SageMakerInput": value, "SageMakerOutput": result})


def test_formats_by_content_type() -> None:
    assert isinstance(of_content_type("text/csv; header=present", "Line"), Csv)
    whole, lines = of_content_type("Application/JSON", "None"), of_content_type("application/json", "Line")
    assert isinstance(whole, Json)
    assert isinstance(lines, Json)
    assert (whole.by_line, lines.by_line) == (False, True)
    assert of_content_type("application/x-image", "None") is None


def write(row: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="", quoting=csv.QUOTE_ALL if row == [""] else csv.QUOTE_MINIMAL).writerow(
        row
    )
    return text.getvalue().encode()


def read(line: bytes) -> list[str]:
    return next(csv.reader([line.decode()])) or [""]
