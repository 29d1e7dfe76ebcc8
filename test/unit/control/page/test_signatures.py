"""SignatureDefs as the model server's REST API gives them, and example requests made from them."""

from __future__ import annotations

from typing import Any

import pytest

from tfsd.control.page.examples import example_request
from tfsd.control.page.signatures import Signature, Tensor, parse


def info(dtype: str, *sizes: int, unknown_rank: bool = False) -> dict[str, Any]:
    shape = {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": unknown_rank}
    return {"dtype": dtype, "tensor_shape": shape, "name": "x:0"}


def document(**signatures: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"signature_def": {"signature_def": signatures}}}


def predict(**inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "outputs": {"y": info("DT_FLOAT", -1)},
        "method_name": "tensorflow/serving/predict",
    }


def test_what_a_model_server_says_is_read() -> None:
    found = parse(
        document(
            serving_default=predict(x=info("DT_FLOAT", -1, 3), s=info("DT_STRING", unknown_rank=True)),
            init={"inputs": {}, "outputs": {}, "method_name": ""},
        )
    )
    assert found == {
        "serving_default": Signature(
            "predict",
            {"s": Tensor("DT_STRING", None), "x": Tensor("DT_FLOAT", (-1, 3))},
            {"y": Tensor("DT_FLOAT", (-1,))},
        )
    }


@pytest.mark.parametrize(
    "junk", [{}, [], None, document(x={"method_name": "tensorflow/serving/predict", "inputs": 1})]
)
def test_anything_else_is_refused(junk: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        parse(junk)


def test_examples() -> None:
    (signature,) = parse(
        document(serving_default=predict(x=info("DT_FLOAT", -1, 2), n=info("DT_INT64")))
    ).values()
    assert example_request(signature) == {"inputs": {"x": [[0.0, 0.0]], "n": 0}}
    (large,) = parse(document(serving_default=predict(x=info("DT_FLOAT", -1, 224, 224, 3)))).values()
    assert example_request(large) is None
    assert example_request(Signature("classify", {}, {})) == {"examples": [{"feature": 0.0}]}
