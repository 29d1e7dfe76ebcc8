"""NumPy files and tf.Examples to real models and back, as SageMaker's SDK and others send them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from tensorflow.core.example import example_pb2

from integration.conftest import StartStack, linked
from support.stack import RunningStack
from tfsd.tensors.records import framed

NPY, NPZ, TFEXAMPLE = "application/x-npy", "application/x-npz", "application/x-tfexample"
TWO = "tfs-model-name=half_plus_two,tfs-model-version=123"  # x / 2 + 2
MATRIX = "tfs-model-name=matrix"  # three numbers to their sum, and to themselves times ten
MULTI = "tfs-model-name=multi"  # a, b to their sum and product
STRING = "tfs-model-name=string"  # to upper case
ECHO = "tfs-model-name=echo"


def npy(value: Any, dtype: Any = np.float32) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(value, dtype))
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    converted: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    np.savez_compressed(file, **converted)
    return file.getvalue()


def loaded(answer: requests.Response) -> Any:
    assert answer.status_code == 200, answer.text
    found = np.load(io.BytesIO(answer.content), allow_pickle=False)
    return dict(found) if answer.headers["Content-Type"] == NPZ else found


def example(value: float) -> bytes:
    made = example_pb2.Example()
    made.features.feature["x"].float_list.value.append(value)
    return made.SerializeToString()


@pytest.fixture(scope="module")
def stack(models: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    names = ("half_plus_two", "matrix", "multi", "string", "echo")
    return start_stack(
        linked(tmp_path_factory.mktemp("binary"), models, *names),
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
        SAGEMAKER_TFS_MAX_INFLATED_MB="1",
    )


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2, 5], np.float32),
        np.array([1, 2, 5], ">f8"),
        np.array([1, 2, 5], np.int64),
        np.array([1, 2, 5], np.float16),
        np.array([], np.float32),
    ],
    ids=["float32", "big-endian-float64", "int64", "float16", "empty"],
)
def test_npy_in_npy_out(stack: RunningStack, array: Any) -> None:
    """What NumpySerializer and NumpyDeserializer of SageMaker's SDK send and ask for."""
    answer = stack.invoke(npy(array, array.dtype), NPY, attributes=TWO, Accept=NPY)
    found = loaded(answer)
    assert answer.headers["Content-Type"] == NPY
    assert found.dtype == np.float32
    assert found.tolist() == (array.astype(np.float32) / 2 + 2).tolist()


def test_fortran_order(stack: RunningStack) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = loaded(stack.invoke(npy(array), NPY, attributes=MATRIX, Accept=NPZ))
    assert found["scaled"].tolist() == (array * 10).tolist()
    assert found["sum"].tolist() == [3, 12]


@pytest.mark.parametrize(
    ("attributes", "body", "document"),
    [
        (TWO, npy([1, 2]), {"predictions": [2.5, 3.0]}),
        (TWO + ",tfs-input-name=x", npy([1]), {"predictions": [2.5]}),
        (MATRIX, npy([[1, 2, 3]]), {"predictions": [{"sum": 6.0, "scaled": [10.0, 20.0, 30.0]}]}),
        (STRING, npy(["a", "ü"], None), {"predictions": ["A", "Ü"]}),
        (STRING, npy([b"a", b"bc"], None), {"predictions": ["A", "BC"]}),
    ],
)
def test_npy_in_json_out(stack: RunningStack, attributes: str, body: bytes, document: Any) -> None:
    answer = stack.invoke(body, NPY, attributes=attributes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == document


def test_npy_in_csv_out(stack: RunningStack) -> None:
    assert (
        stack.invoke(npy([[1, 2, 3]]), NPY, attributes=MATRIX, Accept="text/csv").text
        == "10.0,20.0,30.0,6.0\n"
    )


def test_npz_in(stack: RunningStack) -> None:
    answer = stack.invoke(npz(a=[1, 3], b=[2, 4]), NPZ, attributes=MULTI)
    assert answer.json() == {"predictions": [{"sum": 3.0, "product": 2.0}, {"sum": 7.0, "product": 12.0}]}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"instances": [1.0, 2.0]}'),
        ("text/csv", "1\n2\n"),
        ("application/jsonlines", "1\n2\n"),
    ],
    ids=["json", "csv", "jsonlines"],
)
def test_text_in_npy_out(stack: RunningStack, content_type: str, body: str) -> None:
    found = loaded(stack.invoke(body, content_type, attributes=TWO, Accept=NPY))
    assert found.dtype == np.float32
    assert found.tolist() == [2.5, 3.0]


def test_json_in_npz_out(stack: RunningStack) -> None:
    found = loaded(
        stack.invoke('{"instances": [[1, 2, 3]]}', "application/json", attributes=MATRIX, Accept=NPZ)
    )
    assert {name: array.tolist() for name, array in found.items()} == {"sum": [6], "scaled": [[10, 20, 30]]}


def test_the_only_output_of_an_npz_has_its_name(stack: RunningStack) -> None:
    for body, content_type in ((npy([1]), NPY), ('{"instances": [1.0]}', "application/json")):
        assert loaded(stack.invoke(body, content_type, attributes=TWO, Accept=NPZ)).keys() == {"y"}


@pytest.mark.parametrize(
    "name", ["int8", "uint8", "int32", "int64", "bool", "float16", "bfloat16", "float64", "string"]
)
def test_dtypes_there_and_back(stack: RunningStack, name: str) -> None:
    array = np.array([0, 1, 1], "S1" if name == "string" else np.float32 if name == "bfloat16" else name)
    attributes = f"{ECHO},tfs-signature-name={name}"
    answer = stack.invoke(npy(array, array.dtype), NPY, attributes=attributes, Accept=NPY)
    found = loaded(answer)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_accept_is_weighed(stack: RunningStack) -> None:
    for accept, expected in (
        ("application/x-npy;q=0.2, application/json;q=0.1", NPY),
        ("application/x-npy;q=0.1, application/json", "application/json"),
        ("application/*", "application/json"),
    ):
        answer = stack.invoke(npy([1]), NPY, attributes=TWO, Accept=accept)
        assert answer.headers["Content-Type"] == expected


def test_several_outputs_are_no_npy(stack: RunningStack) -> None:
    answer = stack.invoke(npy([[1, 2, 3]]), NPY, attributes=MATRIX, Accept=NPY)
    assert answer.status_code == 406
    assert "ask for application/x-npz" in answer.json()["error"]
    both = stack.invoke(npy([[1, 2, 3]]), NPY, attributes=MATRIX, Accept=f"{NPY}, {NPZ};q=0.5")
    assert loaded(both).keys() == {"sum", "scaled"}


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("attributes", "content_type", "body", "status", "words"),
    [
        (TWO, NPY, b"1.0", 400, ["NUMPY"]),
        (TWO, NPY, b"", 400, ["NUMPY"]),
        (TWO, NPY, npy([1, 2])[:-1], 400, ["7 bytes", "has 8"]),
        (TWO, NPY, npy([1, 2]) + b"x", 400, ["9 bytes"]),
        (TWO, NPY, npy([{}], object), 400, ["pickled"]),
        (TWO, NPY, npy(["2020-01-01"], "M8[D]"), 400, ["datetime64"]),
        (TWO, NPY, npy(["a"], None), 400, ["not numeric"]),
        (ECHO + ",tfs-signature-name=v_int32", NPY, npy([1.5]), 400, ["int32", "do not fit"]),
        (MULTI, NPY, npy([1]), 400, ["'a', 'b'", "x-npz"]),
        (MULTI + ",tfs-input-name=c", NPY, npy([1]), 400, ["'c'", "'a', 'b'"]),
        (MULTI + ",tfs-input-name=a", NPY, npy([1]), 400, ["'b'"]),
        (MULTI, NPZ, npz(a=[1]), 400, ["'b'"]),
        (MULTI, NPZ, npz(a=[1], b=[1], c=[1]), 400, ["'c'"]),
        (TWO, NPZ, b"PK\x03\x04", 400, ["npz"]),
        (TWO, NPZ, bomb(), 413, ["SAGEMAKER_TFS_MAX_INFLATED_MB"]),
        (MULTI, NPZ, npz(a=[1, 2], b=[1, 2, 3]), 400, []),
        (TWO + ",tfs-signature-name=nope", NPY, npy([1]), 400, ["nope", "serving_default"]),
        (TWO + ",tfs-method=classify", NPY, npy([1]), 400, ["tfs-method=predict"]),
        (TWO + ",tfs-input-name=x", "application/json", b"[1]", 400, ["tfs-input-name"]),
        (TWO, TFEXAMPLE, example(1), 400, ["float", "'x'"]),
        (TWO + ",tfs-method=regress", TFEXAMPLE, b"\xff", 400, ["Record 1"]),
        (TWO + ",tfs-method=regress", TFEXAMPLE, framed(example(1))[:-1], 400, ["Record 1 is cut short"]),
        (TWO, TFEXAMPLE, b"", 400, ["empty"]),
    ],
)
def test_what_cannot_be_read_says_so(
    stack: RunningStack, attributes: str, content_type: str, body: bytes, status: int, words: list[str]
) -> None:
    answer = stack.invoke(body, content_type, attributes=attributes)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["error"]


def test_compressed(stack: RunningStack) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert stack.invoke(gzip.compress(npy([1])), NPY, attributes=TWO, **headers).json() == {
        "predictions": [2.5]
    }
    large = gzip.compress(npy(np.zeros(1 << 20)))
    assert stack.invoke(large, NPY, attributes=TWO, **headers).status_code == 413


@pytest.mark.parametrize("several", [False, True])
def test_examples(stack: RunningStack, several: bool) -> None:
    body = framed(example(1)) + framed(example(3)) if several else example(1)
    values = [2.5, 3.5] if several else [2.5]
    regress = TWO + ",tfs-method=regress,tfs-signature-name=regress_x_to_y"
    assert stack.invoke(body, TFEXAMPLE, attributes=regress).json() == {"results": values}
    assert loaded(stack.invoke(body, TFEXAMPLE, attributes=regress, Accept=NPY)).tolist() == values
    classify = TWO + ",tfs-method=classify,tfs-signature-name=classify_x_to_y"
    answer = stack.invoke(body, TFEXAMPLE, attributes=classify).json()
    assert [classes[0][1] for classes in answer["results"]] == values
    assert stack.invoke(body, TFEXAMPLE, attributes=classify, Accept=NPY).status_code == 406
    predict = TWO + ",tfs-signature-name=predict_ex"
    answer = stack.invoke(body, TFEXAMPLE, attributes=predict)
    assert [row["scores"][0] for row in answer.json()["predictions"]] == values


def test_nan_and_infinity(stack: RunningStack) -> None:
    answer = stack.invoke(npy([np.nan, np.inf]), NPY, attributes=TWO)
    assert json.loads(answer.text)["predictions"][1] == np.inf
    assert "NaN" in answer.text


def test_a_large_batch(stack: RunningStack) -> None:
    array = np.arange(3_000_000, dtype=np.float32)  # 12 MB: more than nginx keeps in memory
    found = loaded(stack.invoke(npy(array), NPY, attributes=TWO, Accept=NPY))
    np.testing.assert_array_equal(found, array / 2 + 2)


HANDLERS = """
def input_handler(data, context):
    import io, json
    import numpy
    return json.dumps({"instances": numpy.load(io.BytesIO(data.read())).tolist()})


def output_handler(response, context):
    return response.content, "application/json"
"""


def test_an_input_handler_gets_the_raw_body(
    models: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model_dir = linked(tmp_path_factory.mktemp("handlers"), models, "half_plus_two")
    (model_dir / "code").mkdir()
    (model_dir / "code" / "inference.py").write_text(HANDLERS)
    stack = start_stack(model_dir)
    assert stack.invoke(npy([1, 2]), NPY).json() == {"predictions": [3.5, 4.0]}
