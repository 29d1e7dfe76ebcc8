"""The API's description: valid OpenAPI, and schemas that agree with what the model server takes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from support.openapi import validate
from tfsd.control.page.openapi import document
from tfsd.control.page.schemas import request_schema, response_schema
from tfsd.control.page.signatures import Signature, Tensor
from tfsd.plan import Model, Plan, Pool
from tfsd.settings import Settings

ONE = Signature("predict", {"x": Tensor("DT_FLOAT", (-1, 2))}, {"y": Tensor("DT_FLOAT", (-1,))})
TWO = Signature(
    "predict",
    {"n": Tensor("DT_INT32", (-1,)), "s": Tensor("DT_STRING", (-1, -1))},
    {"y": Tensor("DT_FLOAT", (-1,))},
)
SCALAR = Signature("predict", {"x": Tensor("DT_BOOL", ())}, {"y": Tensor("DT_FLOAT", None)})
CLASSIFY = Signature("classify", {"inputs": Tensor("DT_STRING", (-1,))}, {})


def fits(value: Any, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("multi_model", [False, True])
def test_the_document_is_valid(multi_model: bool) -> None:
    settings = Settings.from_environ({"SAGEMAKER_MULTI_MODEL": str(multi_model)}, cpus=1)
    models = {name: Model(name, "/", (1, 2), ()) for name in ("m", "<img src=x>", "_img src=x_")}
    plan = Plan(models, {"default": Pool("default", "python", ())}, "m")
    signatures = {name: {"serving_default": ONE, "b c": CLASSIFY} for name in models}

    found = document(settings, plan, signatures)

    validate(found)
    assert ("/invocations" in found["paths"]) is not multi_model
    assert len(found["components"]["schemas"]) == 1 + 2 * 2 * 3


@pytest.mark.parametrize("multi_model", [False, True])
@pytest.mark.parametrize("code", [None, "/code/inference.py"])
def test_the_rest_api_is_described_when_it_is_on(multi_model: bool, code: str | None) -> None:
    environ = {"SAGEMAKER_MULTI_MODEL": str(multi_model), "SAGEMAKER_TFS_REST_API": "true"}
    pools = {"default": Pool("default", "python", (), code)}
    plan = Plan({"m": Model("m", "/", (1,), ())}, pools, "m")

    found = document(Settings.from_environ(environ, cpus=1), plan, {"m": {"serving_default": ONE}})

    validate(found)
    described = {path for path in found["paths"] if path.startswith("/v1/models")}
    assert len(described) == 1 + 2 * 5
    assert "post" in found["paths"]["/v1/models/{model_name}/versions/{version}:regress"]
    body = found["paths"]["/v1/models/{model_name}:predict"]["post"]["requestBody"]["content"]
    assert ("*/*" in body) == (multi_model or code is not None)


def test_the_open_inference_protocol_is_described_when_it_is_on() -> None:
    found = document(Settings.from_environ({"SAGEMAKER_TFS_V2_API": "true"}, cpus=1), None, {})
    validate(found)
    described = {path for path in found["paths"] if path.startswith("/v2")}
    assert len(described) == 3 + 2 * 3
    assert "post" in found["paths"]["/v2/models/{model_name}/versions/{version}/infer"]
    assert not {
        path for path in document(Settings.from_environ({}, cpus=1), None, {})["paths"] if "/v2" in path
    }


def test_a_document_before_anything_is_known() -> None:
    validate(document(Settings.from_environ({}, cpus=1), None, {}))


@pytest.mark.parametrize(
    ("signature", "good"),
    [
        (ONE, {"instances": [[1, 2.5]]}),
        (ONE, {"instances": [{"x": [1, 2]}]}),
        (ONE, {"inputs": [[1, 2]]}),
        (ONE, {"inputs": {"x": [[1, 2]]}, "signature_name": "serving_default"}),
        (TWO, {"instances": [{"n": 1, "s": ["a", {"b64": "aGk="}]}]}),
        (TWO, {"inputs": {"n": [1], "s": [["a"]]}}),
        (SCALAR, {"inputs": True}),
        (CLASSIFY, {"examples": [{"x": 1}]}),
    ],
)
def test_what_a_model_takes_fits(signature: Signature, good: Any) -> None:
    assert fits(good, request_schema("serving_default", signature))


@pytest.mark.parametrize(
    ("signature", "bad"),
    [
        (ONE, {"instances": [[1, 2, 3]]}),
        (ONE, {"instances": []}),
        (ONE, {"instances": [["a", 1]]}),
        (ONE, {"inputs": [1, 2]}),
        (ONE, {"inputs": [[1, 2]], "signature_name": "other"}),
        (TWO, {"instances": [{"n": 2**31, "s": ["a"]}]}),
        (TWO, {"instances": [{"n": 1}]}),
        (SCALAR, {"instances": [True]}),
        (CLASSIFY, {"instances": [{}]}),
        (ONE, {}),
    ],
)
def test_what_it_does_not_take_does_not_fit(signature: Signature, bad: Any) -> None:
    assert not fits(bad, request_schema("serving_default", signature))


def test_another_signature_must_be_named() -> None:
    schema = request_schema("other", ONE)
    assert not fits({"inputs": [[1, 2]]}, schema)
    assert fits({"inputs": [[1, 2]], "signature_name": "other"}, schema)


def test_responses() -> None:
    assert fits({"predictions": [1.0]}, response_schema(ONE))
    assert fits({"outputs": {}}, response_schema(ONE))
    assert not fits({"error": "x"}, response_schema(ONE))
    assert fits({"results": []}, response_schema(CLASSIFY))
