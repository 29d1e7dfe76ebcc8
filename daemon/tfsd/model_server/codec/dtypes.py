"""The dtypes that the JSON codec knows: TensorFlow's numbers, names and ranges, and their arrays.

Owns that table. Never imports TensorFlow, so that the codec can be tested and read without it.
"""

from __future__ import annotations

import numpy as np

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, INT64, BOOL = 1, 2, 3, 4, 5, 6, 7, 9, 10
UINT32, UINT64 = 22, 23

FLOATS = frozenset((FLOAT, DOUBLE))
_INT32_RANGE = (-(2**31), 2**31 - 1)
#: Integer dtypes with the range that JSON numbers are checked against: the small ones against int32's.
INTEGERS = {
    INT8: _INT32_RANGE,
    INT16: _INT32_RANGE,
    UINT8: _INT32_RANGE,
    INT32: _INT32_RANGE,
    INT64: (-(2**63), 2**63 - 1),
    UINT32: (0, 2**32 - 1),
    UINT64: (0, 2**64 - 1),
}
_ARRAYS: dict[int, np.dtype] = {
    FLOAT: np.dtype(np.float32),
    DOUBLE: np.dtype(np.float64),
    INT32: np.dtype(np.int32),
    UINT8: np.dtype(np.uint8),
    INT16: np.dtype(np.int16),
    INT8: np.dtype(np.int8),
    STRING: np.dtype(object),
    INT64: np.dtype(np.int64),
    BOOL: np.dtype(np.bool_),
    UINT32: np.dtype(np.uint32),
    UINT64: np.dtype(np.uint64),
}
#: The other dtypes, which JSON has no form for; an empty list of one is no error.
_OTHERS = {8: "complex64", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "half"}
_OTHERS |= {
    11: "qint8",
    12: "quint8",
    13: "qint32",
    15: "qint16",
    16: "quint16",
    20: "resource",
    21: "variant",
}
_NAMES = {number: dtype.name for number, dtype in _ARRAYS.items()} | _OTHERS
_NAMES |= {FLOAT: "float", DOUBLE: "double", STRING: "string", BOOL: "bool"}


def has_json_form(dtype: int) -> bool:
    """Whether values of a dtype can be written as JSON."""
    return dtype in _ARRAYS


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a dtype, as its error texts have it (`float`, not `float32`)."""
    return _NAMES.get(dtype, "unknown dtype enum: " + str(dtype))


def numpy_dtype(dtype: int) -> np.dtype:
    """The dtype of the arrays that carry it; strings are objects of bytes.

    For a dtype without JSON form it is that of an array that holds no value.
    """
    if dtype in _ARRAYS:
        return _ARRAYS[dtype]
    name = {"half": "float16"}.get(dtype_name(dtype), dtype_name(dtype))
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return (
        np.dtype(name) if name in ("complex64", "uint16", "complex128", "float16") else np.dtype(np.float32)
    )
