"""The `input_fn`/`output_fn` endpoint on a whole stack, with models as TensorFlow 1's estimators export them."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from support.code import add_model
from support.models import built_models
from support.stack import RunningStack

SCRIPTS = Path(__file__).parents[1] / "resources" / "legacy" / "scripts"
JSON, CSV, PROTOBUF = "application/json", "text/csv", "application/octet-stream"
FLOWER = [6.4, 3.2, 4.5, 1.5]

Ask = Callable[..., requests.Response]


def lay(directory: Path, shared: Path, names: list[str]) -> Path:
    """A model directory with those models and code for all of them."""
    for name in names:
        add_model(directory, name, MODELS[name]())
    (directory / "code").mkdir()
    shutil.copy(shared, directory / "code" / "inference.py")
    return directory


MODELS: dict[str, Callable[[], Path]] = {
    "iris": lambda: built_models("legacy") / "iris" / "export" / "Servo",
    **{
        name: lambda name=name: built_models("legacy") / name  # type: ignore[misc]
        for name in ("line", "blend", "scale", "echo", "words", "nameless")
    },
}


@pytest.fixture(scope="module")
def stack(start_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """All models with the default input_fn, and some with code of their own."""
    directory = lay(tmp_path_factory.mktemp("legacy"), SCRIPTS / "only_output.py", list(MODELS))
    plain = "import json\n\ndef input_fn(serialized_input, content_type):\n    return json.loads(serialized_input)\n"
    add_model(directory, "export/Servo", MODELS["iris"](), plain)
    add_model(directory, "pickled", MODELS["scale"](), SCRIPTS / "pickled.py")
    add_model(directory, "transform", MODELS["scale"](), SCRIPTS / "transform.py")
    add_model(directory, "trained", MODELS["scale"](), "def keras_model_fn(hyperparameters):\n    pass\n")
    started: RunningStack = start_stack(directory, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    return started


@pytest.fixture(scope="module")
def output_stack(start_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """The models with the default output_fn."""
    names = [name for name in MODELS if name != "nameless"]
    directory = lay(tmp_path_factory.mktemp("legacy"), SCRIPTS / "only_input.py", names)
    started: RunningStack = start_stack(directory, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    return started


@pytest.fixture(scope="module")
def ask(stack: RunningStack, output_stack: RunningStack) -> Ask:
    """`NAME-in` is the model NAME with the default output_fn."""

    def post(
        model: str, body: str | bytes, content_type: str = JSON, accept: str = JSON, **headers: str
    ) -> requests.Response:
        name = model.removesuffix("-in")
        headers.setdefault("attributes", f"tfs-model-name={name}")
        return (stack if name == model else output_stack).invoke(body, content_type, Accept=accept, **headers)

    return post


def ok(answer: requests.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == JSON
    return answer.json()


def refused(answer: requests.Response, status: int, *said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == JSON
    assert all(text in answer.json()["error"] for text in said), answer.text


def floats(result: Any, output: str = "y") -> Any:
    return result["outputs"][output]["floatVal"]


def shape(result: Any, output: str = "y") -> list[int]:
    return [int(dim["size"]) for dim in result["outputs"][output]["tensorShape"]["dim"]]


def labels(result: Any) -> list[str]:
    """The best label of each classification."""
    return [
        max(entry["classes"], key=lambda found: found["score"])["label"]
        for entry in result["result"]["classifications"]
    ]


def values(result: Any) -> list[float]:
    return [regression["value"] for regression in result["result"]["regressions"]]


def test_the_documented_prediction(ask: Ask) -> None:
    """`predictor.predict([6.4, 3.2, 4.5, 1.5])`, in the layout of an estimator's export."""
    result = ok(ask("Servo", json.dumps(FLOWER)))
    (classification,) = result["result"]["classifications"]
    assert [entry["label"] for entry in classification["classes"]] == ["0", "1", "2"]
    assert sum(entry["score"] for entry in classification["classes"]) == pytest.approx(1)
    assert labels(result) == ["1"]
    assert result["modelSpec"] == {"name": "Servo", "version": "1", "signatureName": "serving_default"}


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (json.dumps(FLOWER), JSON, ["1"]),
        (json.dumps({"inputs": FLOWER}), JSON, ["1"]),
        (json.dumps([{"inputs": FLOWER}, {"inputs": [5.1, 3.5, 1.4, 0.2]}]), JSON, ["1", "0"]),
        ("6.4,3.2,4.5,1.5\n", CSV, ["1"]),
        ("6.4,3.2,4.5,1.5\n5,3.5,1.4,.2\r\n\n", CSV, ["1", "0"]),
    ],
)
def test_default_input_of_a_classifier(ask: Ask, body: str, content_type: str, expected: list[str]) -> None:
    result = ok(ask("iris", body, content_type))
    assert result["kind"] == "ClassificationResponse"
    assert labels(result) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"x": 1.0}, [2.5]),
        ({"x": [1.5], "name": "abc", "steps": 2}, [503.5]),
        ([{"x": 1.0}, {"x": [2.0], "name": ["a"]}], [2.5, 104.5]),
    ],
)
def test_default_input_of_a_regressor(ask: Ask, body: Any, expected: list[float]) -> None:
    result = ok(ask("line", json.dumps(body)))
    assert result["kind"] == "RegressionResponse"
    assert values(result) == expected


@pytest.mark.parametrize(
    ("model", "body", "content_type", "expected", "sizes"),
    [
        ("scale", "[1, 2, 3, 4]", JSON, [3, 6, 9, 12], [1, 4]),
        ("scale", "[[1, 2, 3, 4], [5, 6, 7, 8.5]]", JSON, [3, 6, 9, 12, 15, 18, 21, 25.5], [2, 4]),
        ("scale", '{"x": [1, 2, 3, 4]}', JSON, [3, 6, 9, 12], [1, 4]),
        ("scale", "1,2,3,4", CSV, [3, 6, 9, 12], [1, 4]),
        ("scale", "1,2,3,4\n\n5,6,7,8.5\n", CSV, [3, 6, 9, 12, 15, 18, 21, 25.5], [2, 4]),
        (
            "scale",
            '{"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "1"}, {"size": 4}]}, "floatVal": [1, 2, 3, 4]}',
            JSON,
            [3, 6, 9, 12],
            [1, 4],
        ),
        ("echo", "[[1, 2], [3, 4]]", JSON, [1, 2, 3, 4], [2, 2]),
    ],
)
def test_default_input_of_a_predict_model(
    ask: Ask, model: str, body: str, content_type: str, expected: list[float], sizes: list[int]
) -> None:
    result = ok(ask(model, body, content_type))
    assert (floats(result), shape(result)) == (expected, sizes)


def test_several_inputs_have_a_dtype_each(ask: Ask) -> None:
    result = ok(
        ask("blend", json.dumps({"count": [1, 2**53 + 1], "rate": [[0.5, 0.25], [1, 2]], "flag": False}))
    )
    assert floats(result, "total")[0] == -1.75
    assert result["outputs"]["count_again"]["int64Val"] == ["1", str(2**53 + 1)]
    result = ok(ask("words", '["grün", "b"]'))
    assert result["outputs"]["loud"]["stringVal"] == ["Z3LDvG4h", "YiE="]


def test_protobuf_in(ask: Ask) -> None:
    predict = predict_pb2.PredictRequest()
    predict.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2, 3, 4]))
    for size in (1, 4):
        predict.inputs["x"].tensor_shape.dim.add(size=size)
    assert floats(ok(ask("scale", predict.SerializeToString(), PROTOBUF))) == [3, 6, 9, 12]
    predict.model_spec.name = "scale"
    predict.model_spec.version.value = 1
    assert floats(ok(ask("scale", predict.SerializeToString(), PROTOBUF))) == [2, 4, 6, 8]

    classify = classification_pb2.ClassificationRequest()
    classify.input.example_list.examples.add().features.feature["inputs"].float_list.value.extend(FLOWER)
    assert labels(ok(ask("iris", classify.SerializeToString(), PROTOBUF))) == ["1"]

    regress = regression_pb2.RegressionRequest()
    regress.input.example_list.examples.add().features.feature["x"].float_list.value.append(3)
    assert values(ok(ask("line", regress.SerializeToString(), PROTOBUF))) == [6.5]


def test_a_version_can_be_asked_for(ask: Ask) -> None:
    first = "tfs-model-name=scale,tfs-model-version=1"
    result = ok(ask("scale", "[1, 2, 3, 4]", attributes=first))
    assert (floats(result), result["modelSpec"]["version"]) == ([2, 4, 6, 8], "1")


@pytest.mark.parametrize(
    ("model", "returned", "expected"),
    [
        ("scale-in", "[1, 2, 3, 4]", [3, 6, 9, 12]),
        ("scale-in", "(1, 2, 3, 4)", [3, 6, 9, 12]),
        ("scale-in", "numpy.arange(4)", [0, 3, 6, 9]),
        ("scale-in", "numpy.ones((2, 4), numpy.float64)", [3] * 8),
        ("scale-in", "{'x': numpy.ones(4, numpy.int8)}", [3] * 4),
        ("scale-in", "tensor_pb2.TensorProto(dtype=1, float_val=[1], tensor_shape=SHAPE(4))", [3] * 4),
        (
            "scale-in",
            "{'x': tensor_pb2.TensorProto(dtype=1, float_val=[1], tensor_shape=SHAPE(1, 4))}",
            [3] * 4,
        ),
        ("echo-in", "7", [7]),
    ],
)
def test_what_input_fn_may_return_for_a_predict_model(
    ask: Ask, model: str, returned: str, expected: list[float]
) -> None:
    assert floats(ok(ask(model, returned))) == expected


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("{'x': 1.0, 'name': 'ab'}", [202.5]),
        ("{'x': numpy.float32(1), 'name': [b'ab'], 'steps': numpy.array([1])}", [302.5]),
        ("[{'x': 1.0}, {'x': numpy.array([2.0])}]", [2.5, 4.5]),
        (
            "regression_pb2.RegressionRequest(input={'example_list': {'examples': [{'features': "
            "{'feature': {'x': {'float_list': {'value': [4]}}}}}]}})",
            [8.5],
        ),
    ],
)
def test_what_input_fn_may_return_for_a_regressor(ask: Ask, returned: str, expected: list[float]) -> None:
    result = ok(ask("line-in", returned))
    assert values(result) == expected
    assert result["modelSpec"]["name"] == "line"


def test_several_inferences_in_one_request(ask: Ask) -> None:
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.signature_name = "serving_default"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(3)
    returned = f"inference_pb2.MultiInferenceRequest.FromString({request.SerializeToString()!r})"
    (result,) = ok(ask("line-in", returned))["results"]
    assert result["regressionResult"]["regressions"] == [{"value": 6.5}]


@pytest.mark.parametrize(
    ("model", "returned", "message"),
    [
        ("scale-in", "[1, 2, 3, 4]", predict_pb2.PredictResponse),
        ("iris-in", str(FLOWER), classification_pb2.ClassificationResponse),
        ("line-in", "{'x': 1.0}", regression_pb2.RegressionResponse),
    ],
)
def test_protobuf_out_says_the_same_as_json(ask: Ask, model: str, returned: str, message: Any) -> None:
    answer = ask(model, returned, accept=PROTOBUF)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, PROTOBUF)
    as_json = json_format.ParseDict(ok(ask(model, returned)), message())
    assert message.FromString(answer.content) == as_json


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, application/json;q=0.5"])
def test_json_is_the_default_output(ask: Ask, accept: str) -> None:
    assert floats(ok(ask("scale-in", "[1, 2, 3, 4]", accept=accept))) == [3, 6, 9, 12]


def test_what_is_zero_is_written(ask: Ask) -> None:
    assert values(ok(ask("line-in", "{'x': -0.25}"))) == [0.0]


@pytest.mark.parametrize(
    ("model", "returned", "expected"),
    [
        ("scale-in", "[[1, 2, 3, 4], [0.1, 0, -1, 1e9]]", "3.0,6.0,9.0,12.0\n0.3,0.0,-3.0,3e+09\n"),
        ("echo-in", "[[[1, 2], [3, 4]]]", "1.0,2.0,3.0,4.0\n"),
        ("echo-in", "[1, float('nan')]", "1.0\nnan\n"),
        ("echo-in", "5", "5.0\n"),
        ("echo-in", "[]", ""),
        ("words-in", "['a', 'b,c', 'q\"', 'grün']", 'a!\n"b,c!"\n"q""!"\ngrün!\n'),
        ("line-in", "[{'x': 1.0}, {'x': 2.0}]", "2.5\n4.5\n"),
    ],
)
def test_csv_out(ask: Ask, model: str, returned: str, expected: str) -> None:
    answer = ask(model, returned, accept=CSV)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, CSV)
    assert answer.content.decode() == expected


def test_the_documented_example(ask: Ask) -> None:
    pickled = "application/python-pickle"
    answer = ask("pickled", pickle.dumps([[1, 2, 3, 4]]), pickled, pickled)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, pickled)
    assert pickle.loads(answer.content).outputs["y"].float_val == [3, 6, 9, 12]
    refused(ask("pickled", "[]"), 415, "input_fn", JSON)
    refused(ask("pickled", pickle.dumps([1, 2, 3, 4]), pickled), 406, "output_fn", JSON)


def test_transform_fn_replaces_all(ask: Ask) -> None:
    answer = ask("transform", "ü", "text/CSV; charset=utf-8", "text/plain")
    assert (answer.text, answer.headers["Content-Type"]) == ("str text/csv text/plain", "text/plain")
    assert ask("transform", b"\xff", "image/png").text == f"bytes image/png {JSON}"
    answer = ask("transform", "pair")
    assert (answer.text, answer.headers["Content-Type"]) == ("a,b", CSV)
    refused(ask("transform", "busy"), 429, "come back later")
    refused(ask("transform", "nothing"), 500, "transform_fn")


def test_content_types_that_functions_see(ask: Ask) -> None:
    """`ContentType` is the name under which the old image's clients sent it."""
    assert ask("transform", "x", PROTOBUF, ContentType="text/csv").text == f"str text/csv {JSON}"
    compressed = gzip.compress("x".encode("utf-16"))
    answer = ask("transform", compressed, "text/csv;charset=utf-16", Content_Encoding="gzip")
    assert answer.text == f"str text/csv {JSON}"
    assert ok(ask("scale", "[1, 2, 3, 4]", accept="*/*"))["accepts"] == JSON


def test_other_shapes_than_the_signature_s_are_for_the_model_to_judge(ask: Ask) -> None:
    """As its graph does that scales whatever it is given, where the signature says [?, 4]."""
    assert ok(ask("scale", "[[[1, 2, 3, 4]]]"))["outputs"]["y"]["tensorShape"]["dim"] == [
        {"size": "1"},
        {"size": "1"},
        {"size": "4"},
    ]


def test_a_training_script_has_the_defaults_of_both_ends(ask: Ask) -> None:
    found = ok(ask("trained", "[1, 2, 3, 4]"))
    assert found["outputs"] == ok(ask("scale-in", "[1, 2, 3, 4]"))["outputs"]
    assert found["modelSpec"]["name"] == "trained"


def test_a_model_without_a_script_by_the_python_endpoint(start_stack: Any, tmp_path: Path) -> None:
    add_model(tmp_path, "export/Servo", MODELS["scale"]())
    environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", "SAGEMAKER_TFS_PYTHON_ENDPOINT": "true"}
    stack = start_stack(tmp_path, **environ)
    answer = stack.invoke("[1, 2, 3, 4]", attributes="tfs-model-name=generic_model")
    assert answer.json()["outputs"]["y"]["dtype"] == "DT_FLOAT"


def test_the_user_s_exception_is_told_and_logged(ask: Ask, stack: RunningStack) -> None:
    refused(ask("transform", "fail"), 500, "no such color")
    told = 'raise ValueError("no such color")'
    stack.wait_for(lambda: told in stack.log_text(), 30, "logged")


@pytest.mark.parametrize(
    ("model", "body", "content_type", "status", "said"),
    [
        ("scale", "x", "text/plain", 415, ["'text/plain'", JSON, CSV, PROTOBUF]),
        ("scale", "[[1, 2, 3, 4], [5, 6]]", JSON, 412, ["same length"]),
        ("scale", '["a", "b", "c", "d"]', JSON, 400, ["'x'", "float32"]),
        ("scale", "{]", JSON, 400, ["not JSON"]),
        ("scale", '{"instances": [1]}', JSON, 400, ["'instances'", "'x'"]),
        ("scale", "1,2,3,4\n1,2\n", CSV, 400, ["Line 2"]),
        ("scale", "1,2,a,4\n", CSV, 400, ["Line 1", "'a'"]),
        ("scale", b"\xff\xff\xff", PROTOBUF, 400, ["PredictRequest"]),
        ("blend", "[1]", JSON, 400, ["'count', 'flag', 'rate'"]),
        ("blend", '{"count": [1.5]}', JSON, 400, ["'count'", "int64"]),
        ("blend", '{"count": [1]}', JSON, 400, ["rate"]),
        ("iris", "[1.0]", JSON, 400, ["inputs"]),
        ("iris", '[1.0, "a"]', JSON, 400, ["'inputs'", "float, str"]),
        ("nameless", "[1]", JSON, 400, ["serving_default", "other"]),
    ],
)
def test_input_that_is_refused(
    ask: Ask, model: str, body: str | bytes, content_type: str, status: int, said: list[str]
) -> None:
    refused(ask(model, body, content_type), status, *said)


@pytest.mark.parametrize(
    ("model", "returned", "accept", "said"),
    [
        ("scale-in", "[1, 2, 3, 4]", "image/png", ["'image/png'", JSON]),
        ("blend-in", "{'count': [1], 'rate': [[1, 2]], 'flag': True}", CSV, ["'count_again', 'total'"]),
        ("iris-in", str(FLOWER), CSV, ["ClassificationResponse"]),
    ],
)
def test_output_that_cannot_be_had(ask: Ask, model: str, returned: str, accept: str, said: list[str]) -> None:
    refused(ask(model, returned, accept=accept), 406, *said)


def test_the_model_server_s_errors_keep_their_message(ask: Ask) -> None:
    refused(ask("scale-in", "predict_pb2.PredictRequest(model_spec={'name': 'nobody'})"), 404, "nobody")
    refused(ask("scale-in", "predict_pb2.PredictRequest()"), 400, "x")
