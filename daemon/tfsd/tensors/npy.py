"""NumPy's files, `.npy` and `.npz`, as bodies of requests and responses.

Owns what of the format is read: plain arrays of numbers, bools and text (numpy.lib.format, versions 1 and 2). Objects,
which are pickles, are never read; nor are structures and dates, which no tensor holds. A body is untrusted: whatever it
claims is checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from tfsd.errors import BadRequest, PayloadTooLarge
from tfsd.tensors.values import Array

MAX_HEADER_BYTES = 10_000
MAX_MEMBERS = 1000  # of an .npz; no model has as many inputs
_KINDS = "biufcSU"
_SUFFIX = ".npy"
_BAD_HEADER = (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError)
_START = len(npy_format.MAGIC_PREFIX) + 2  # with the version
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error)


class NoFile(ValueError):
    """An array that an .npy cannot hold without pickling."""


def read_npy(data: bytes | memoryview, what: str = "The body") -> Array:
    """The array of an .npy file: a view of `data` where its order in memory is C's.

    Args:
        what: what `data` is, for messages.
    Raises BadRequest.
    """
    shape, fortran, dtype, at = read_head(data, what)
    return _array(memoryview(data)[at:], shape, fortran, dtype, what)


def read_head(data: bytes | memoryview, what: str = "The body") -> tuple[tuple[int, ...], bool, Any, int]:
    """What an .npy file says of its array before the elements: its shape, whether they are in Fortran's order, their
    dtype, which is one of _KINDS; and where they begin. It suffices that `data` has come as far. Raises BadRequest.
    """
    data = memoryview(data)
    start, version = bytes(data[:_START]), bytes(data[_START - 2 : _START])
    if not start.startswith(npy_format.MAGIC_PREFIX):
        raise BadRequest(
            f"{what} is no NumPy file: it does not begin with \\x93NUMPY. Write it with numpy.save."
        )
    if version not in (b"\x01\x00", b"\x02\x00"):
        raise BadRequest(
            f"{what} is a NumPy file of version {'.'.join(map(str, version))}; plain arrays are of version 1.0 or 2.0."
        )
    length = struct.Struct("<H" if version[0] == 1 else "<I")
    if len(data) < _START + length.size:
        raise BadRequest(f"{what} is cut short in its header.")
    size = length.unpack_from(data, _START)[0]
    at = _START + length.size + size
    if size > MAX_HEADER_BYTES or at > len(data):
        reason = "is cut short in its header" if at > len(data) else f"has a header of {size} bytes"
        raise BadRequest(f"{what} {reason}; an array's header has at most {MAX_HEADER_BYTES}.")
    try:
        shape, fortran, dtype = _header(bytes(data[_START:at]), version[0])
    except _BAD_HEADER as error:
        reason = _first_line(error).partition(": <")[0]  # what comes then is an object of the parser's
        raise BadRequest(f"The header of {_inside(what)} cannot be read: {reason}.") from None
    if dtype.hasobject:
        raise BadRequest(
            f"{what} holds Python objects, which are pickled and never read; send numbers or text."
        )
    if dtype.kind not in _KINDS or dtype.names or dtype.subdtype or not dtype.itemsize:
        raise BadRequest(f"{what} is of dtype {str(dtype)[:60]!r}; send numbers, bools or text.")
    return shape, fortran, dtype, at


@lru_cache(256)  # like requests have like headers
def _header(header: bytes, version: int) -> tuple[tuple[int, ...], bool, Any]:
    read = npy_format.read_array_header_1_0 if version == 1 else npy_format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, fortran, dtype = read(io.BytesIO(header), max_header_size=MAX_HEADER_BYTES)
    if any(not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in shape):
        raise ValueError(f"the shape {str(shape)[:60]} is none")
    return shape, fortran, dtype


def _array(data: memoryview, shape: tuple[int, ...], fortran: bool, dtype: Any, what: str) -> Array:
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise BadRequest(
            f"{what} holds {len(data)} bytes after its header; {dtype.name} of shape {str(shape)[:100]} has {wanted}."
        )
    try:
        array = np.frombuffer(data, dtype) if wanted else np.empty(0, dtype)
        array = array.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{what} has a shape that no array has: {_first_line(error)}.") from None
    if dtype.kind == "b" and wanted and int(np.frombuffer(data, np.uint8).max()) > 1:
        raise BadRequest(f"{what} holds bools that are neither 0 nor 1.")
    if dtype.kind == "U":
        _check_text(array, what)
    return array


def _check_text(array: Array, what: str) -> None:
    """Raise BadRequest for code points that are none, on which numpy's own conversion fails late."""
    points = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("=", "<") + "u4")
    if points.size and (int(points.max()) > 0x10FFFF or bool(((points >= 0xD800) & (points < 0xE000)).any())):
        raise BadRequest(f"{what} holds text that is not Unicode.")


def read_npz(data: bytes, max_bytes: int) -> dict[str, Array]:
    """The arrays of an .npz file by name.

    Args:
        max_bytes: what they may have together, inflated (SAGEMAKER_TFS_MAX_INFLATED_MB).
    Raises BadRequest, PayloadTooLarge.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise BadRequest(f"The body has {len(members)} arrays; send at most {MAX_MEMBERS}.")
            if sum(member.file_size for member in members) > max_bytes:
                raise too_large(max_bytes)
            return _members(archive, members)
    except (*_BAD_ZIP, OSError, ValueError, LookupError) as error:
        raise BadRequest(
            f"The body is no .npz file: {_first_line(error)}. Write it with numpy.savez."
        ) from None


def _members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for member in members:
        name = member.filename.removesuffix(_SUFFIX)
        if not member.filename.endswith(_SUFFIX) or name in arrays:
            raise BadRequest(
                f"The body has a member {member.filename[:60]!r}; an .npz holds one NAME.npy for each input."
            )
        with archive.open(member) as file:
            content = file.read(member.file_size + 1)  # its size is what it claims: that was checked
        if len(content) > member.file_size:
            raise BadRequest(f"Array {name[:60]!r} is larger than the .npz says.")
        arrays[name] = read_npy(content, f"Array {name[:60]!r}")
    if not arrays:
        raise BadRequest("The body holds no array.")
    return arrays


def too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The arrays inflate to more than {max_bytes} bytes; send less at a time, or raise"
        " SAGEMAKER_TFS_MAX_INFLATED_MB."
    )


def write_npy(array: Array, max_bytes: int) -> list[bytes | memoryview]:
    """An .npy file in pieces, the last of them the array's own memory. Text, an array of bytes objects, becomes 'S'.

    Raises NoFile: text that ends in zeros, which numpy would take for padding, or of more than `max_bytes`.
    """
    array = np.ascontiguousarray(_without_objects(array, max_bytes)).reshape(array.shape)
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, npy_format.header_data_from_array_1_0(array))
    if not array.nbytes:
        return [header.getvalue()]
    return [header.getvalue(), array.reshape(-1).view(np.uint8).data]


def write_npz(arrays: Mapping[str, Array], max_bytes: int) -> bytes:
    """An .npz file, not compressed. Raises NoFile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}{_SUFFIX}"), b"".join(write_npy(array, max_bytes)))
    return file.getvalue()


def _without_objects(array: Array, max_bytes: int) -> Array:
    if array.dtype != np.object_:
        return array
    items = array.ravel().tolist()
    longest = max(map(len, items), default=0) or 1
    if longest * len(items) > max_bytes:
        raise NoFile(
            f"{len(items)} strings of which the longest has {longest} bytes are too many for a NumPy file"
        )
    if any(item.endswith(b"\0") for item in items):
        raise NoFile("a string that ends in a zero byte would lose it in a NumPy file")
    return np.array(items, f"S{longest}").reshape(array.shape)


def _inside(what: str) -> str:
    return what[0].lower() + what[1:]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
