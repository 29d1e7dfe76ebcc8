"""The dtypes of tensors, and what each is called in the forms that a tensor has.

Owns the table. Imports neither numpy nor protobuf, so that a name can be looked up without them.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...] | None
"""Sizes by dimension, -1 for one that is not known; None if not even their number is."""

DT_FLOAT, DT_DOUBLE, DT_INT32, DT_UINT8, DT_INT16, DT_INT8, DT_STRING, DT_COMPLEX64, DT_INT64, DT_BOOL = (
    range(1, 11)
)
DT_BFLOAT16, DT_UINT16, DT_COMPLEX128, DT_HALF, DT_UINT32, DT_UINT64 = 14, 17, 18, 19, 22, 23


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype.

    Attributes:
        number: of the enum DataType (types.proto).
        name: in the enum, `DT_FLOAT`.
        numpy: numpy's name for an array of it, little endian. Strings are objects (bytes). `DT_BFLOAT16`, which numpy
            has not, is float32 in an array, which holds each of its values.
        itemsize: bytes of one element in `tensor_content`; 0 for strings, which are never there.
        field: of a TensorProto that has the values when there is no `tensor_content`.
        v2: the Open Inference Protocol's name; empty where it has none.
    """

    number: int
    name: str
    numpy: str
    itemsize: int
    field: str
    v2: str


_ALL = (
    DType(DT_FLOAT, "DT_FLOAT", "<f4", 4, "float_val", "FP32"),
    DType(DT_DOUBLE, "DT_DOUBLE", "<f8", 8, "double_val", "FP64"),
    DType(DT_HALF, "DT_HALF", "<f2", 2, "half_val", "FP16"),
    DType(DT_BFLOAT16, "DT_BFLOAT16", "<f4", 2, "half_val", "BF16"),
    DType(DT_INT8, "DT_INT8", "|i1", 1, "int_val", "INT8"),
    DType(DT_INT16, "DT_INT16", "<i2", 2, "int_val", "INT16"),
    DType(DT_INT32, "DT_INT32", "<i4", 4, "int_val", "INT32"),
    DType(DT_INT64, "DT_INT64", "<i8", 8, "int64_val", "INT64"),
    DType(DT_UINT8, "DT_UINT8", "|u1", 1, "int_val", "UINT8"),
    DType(DT_UINT16, "DT_UINT16", "<u2", 2, "int_val", "UINT16"),
    DType(DT_UINT32, "DT_UINT32", "<u4", 4, "uint32_val", "UINT32"),
    DType(DT_UINT64, "DT_UINT64", "<u8", 8, "uint64_val", "UINT64"),
    DType(DT_BOOL, "DT_BOOL", "|b1", 1, "bool_val", "BOOL"),
    DType(DT_COMPLEX64, "DT_COMPLEX64", "<c8", 8, "scomplex_val", ""),
    DType(DT_COMPLEX128, "DT_COMPLEX128", "<c16", 16, "dcomplex_val", ""),
    DType(DT_STRING, "DT_STRING", "|O", 0, "string_val", "BYTES"),
)
DTYPES = {dtype.number: dtype for dtype in _ALL}
"""By number. What is not here (resources, variants, quantized and 8-bit floating numbers) has no form but a message."""
BY_V2 = {dtype.v2: dtype for dtype in _ALL if dtype.v2}
"""By the Open Inference Protocol's name."""
