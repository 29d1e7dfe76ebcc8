"""NumPy files that are sent on as they come: the model server gets what it gets of one that has come whole."""

from __future__ import annotations

import io
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from support.arriving import arriving
from tfsd.errors import HttpError
from tfsd.incoming import Remainder
from tfsd.tensors.values import KINDS
from tfsd.worker import binary
from tfsd.worker.binary import BinaryConverter
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.prediction_service import Signature, TensorInfo

NPY = "application/x-npy"
NUMBERS = sorted(KINDS)
DTYPES = st.one_of(
    arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(endianness="?"),
    arrays.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    arrays.boolean_dtypes(),
)
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


class Service:
    """A PredictionService whose model has some inputs, and that keeps what it is asked."""

    def __init__(self, *inputs: int) -> None:
        infos = {f"x{index}": TensorInfo(number, None) for index, number in enumerate(inputs)}
        self._signature = Signature(1, "predict", infos)
        self.asked = b""
        self.sent_on = False

    def signature(self, *_: Any) -> Signature:
        return self._signature

    def spec(self, _: Any) -> Any:
        return model_pb2.ModelSpec(name="m")

    def predict_pieces(self, pieces: Sequence[Any], *_: Any) -> bytes:
        self.sent_on = any(isinstance(piece, Remainder) for piece in pieces)
        self.asked = b"".join(
            piece._body.read()[-len(piece) :] if isinstance(piece, Remainder) else piece for piece in pieces
        )
        response = predict_pb2.PredictResponse()
        response.outputs["y"].dtype = types_pb2.DT_FLOAT
        response.outputs["y"].tensor_shape.dim.add(size=0)
        return response.SerializeToString()

    def check_version(self, *_: Any) -> None:
        pass


def asked(service: Service, body: Any, input_name: str | None = None) -> tuple[bytes, str]:
    """What the model server gets for a body, or the error that the client gets in place of a result."""
    target = types.SimpleNamespace(method="predict", signature_name=None, input_name=input_name)
    call: Any = types.SimpleNamespace(target=target, deadline=0.0, environ={})
    converter = BinaryConverter(service, Inflater(1 << 20), 1 << 20)  # type: ignore[arg-type]
    try:
        converter.document(call, body, NPY)
    except HttpError as error:
        return b"", str(error)
    assert service.asked
    return service.asked, ""


def both_ways(body: bytes, begun: int, *inputs: int, input_name: str | None = None) -> bool:
    """Assert that a body means the same whether it has come whole or not, and say whether it was sent on."""
    whole = asked(Service(*inputs), body, input_name)
    service = Service(*inputs)
    with pytest.MonkeyPatch.context() as patched, arriving(body, begun) as coming:
        patched.setattr(binary, "SENT_ON_BYTES", 0)
        found, error = asked(service, coming, input_name)
    assert (found, error) == whole
    return service.sent_on


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@given(ARRAYS, st.sampled_from(NUMBERS), st.booleans(), st.integers(1, 400))
def test_arrays_mean_the_same(array: Any, number: int, fortran: bool, begun: int) -> None:
    body = npy(np.asfortranarray(array) if fortran else array)
    both_ways(body, min(begun, len(body) - 1), number)


@given(st.binary(max_size=60), st.integers(0, 300), st.integers(1, 400))
def test_damaged_files_mean_the_same(garbage: bytes, place: int, begun: int) -> None:
    body = npy(np.arange(40, dtype=np.float32))
    body = body[:place] + garbage + body[place + len(garbage) // 2 :]
    both_ways(body, min(begun, len(body) - 1), types_pb2.DT_FLOAT)


@pytest.mark.parametrize("number", [number for number in NUMBERS if number != types_pb2.DT_STRING])
def test_what_is_sent_on(number: int) -> None:
    """An array of the very dtype that the model takes, unless somebody has to look at its elements."""
    body = npy(np.ones((4, 100), KINDS[number]))
    looked_at = (types_pb2.DT_BOOL, types_pb2.DT_BFLOAT16)
    assert both_ways(body, 200, number) == (number not in looked_at)
    assert both_ways(body, 200, number, input_name="x0") == (number not in looked_at)


@pytest.mark.parametrize(
    ("array", "inputs", "input_name"),
    [
        (np.ones((4, 100)), (types_pb2.DT_FLOAT,), None),
        (np.ones((4, 100), ">f4"), (types_pb2.DT_FLOAT,), None),
        (np.ones((4, 100), "f4", order="F"), (types_pb2.DT_FLOAT,), None),
        (np.ones((1,) * 33 + (100,), "f4"), (types_pb2.DT_FLOAT,), None),
        (np.ones((4, 100), "f4"), (types_pb2.DT_FLOAT,) * 2, "x0"),
        (np.ones((4, 100), "f4"), (types_pb2.DT_FLOAT,), "missing"),
        (np.full((4, 10), "x"), (types_pb2.DT_STRING,), None),
        (np.ones((4, 100), "f8"), (types_pb2.DT_QINT8,), None),
    ],
    ids=[
        *("another-dtype", "big-endian", "fortran", "33-dimensions", "two-inputs", "no-such-input", "text"),
        "no-dtype-of-numpy-s",
    ],
)
def test_what_is_read_first(array: Any, inputs: tuple[int, ...], input_name: str | None) -> None:
    assert not both_ways(npy(array), 600, *inputs, input_name=input_name)


def test_a_head_that_has_not_come_whole() -> None:
    assert not both_ways(npy(np.ones((4, 100), "f4")), 100, types_pb2.DT_FLOAT)


def test_small_ones_are_kept() -> None:
    service = Service(types_pb2.DT_FLOAT)
    body = npy(np.ones(10, "f4"))
    with arriving(body, 150) as coming:
        assert asked(service, coming) == asked(Service(types_pb2.DT_FLOAT), body)
    assert not service.sent_on
