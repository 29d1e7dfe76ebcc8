"""NumPy's files, against numpy's own reading and writing, and against whatever else may come."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfsd.errors import BadRequest, HttpError, PayloadTooLarge
from tfsd.tensors import npy

LARGE = 1 << 20
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
DTYPES = st.one_of(
    arrays.scalar_dtypes().filter(lambda dtype: dtype.kind in "biufc"),
    st.sampled_from([np.dtype("S3"), np.dtype("<U2"), np.dtype(">U2")]),
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=2)


def elements(dtype: Any) -> Any:
    if dtype.kind == "U":
        return TEXT
    return st.binary(max_size=3).map(lambda text: text.rstrip(b"\0")) if dtype.kind == "S" else None


ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES, elements=elements(dtype)))


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)
    return file.getvalue()


def header(text: str, version: bytes = b"\x01\x00", data: bytes = b"") -> bytes:
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode("latin-1") + data


def described(descr: str = "'<f4'", fortran: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}"


@given(ARRAYS, st.booleans())
def test_what_numpy_writes_is_read(array: Any, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    found = npy.read_npy(saved(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@given(ARRAYS)
def test_what_is_written_numpy_reads(array: Any) -> None:
    written = b"".join(npy.write_npy(array, LARGE))
    found = np.load(io.BytesIO(written), allow_pickle=False)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@given(arrays.arrays(np.object_, SHAPES, elements=st.binary(max_size=3).map(lambda text: text.rstrip(b"\0"))))
def test_strings_are_written_as_bytes(array: Any) -> None:
    found = npy.read_npy(b"".join(npy.write_npy(array, LARGE)))
    assert found.dtype.kind == "S"
    assert found.tolist() == array.tolist()


def test_an_array_is_a_view_of_the_body() -> None:
    found = npy.read_npy(saved(np.ones((2, 3), np.float32)))
    assert not found.flags.owndata


@given(st.dictionaries(st.text("abc", min_size=1), ARRAYS, min_size=1, max_size=3), st.booleans())
def test_npz_there_and_back(members: dict[str, Any], compressed: bool) -> None:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **members)
    for content in (file.getvalue(), npy.write_npz(members, LARGE)):
        found = npy.read_npz(content, LARGE)
        assert found.keys() == members.keys()
        for name, array in members.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "does not begin with"),
        (b"\x93NUMPY", "version"),
        (b"\x93NUMPY\x01\x00\x10", "cut short"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00", "version 3.0"),
        (b"\x93NUMPY\x01\x00\x10\x00{", "cut short"),
        (header(" " * 20_000, b"\x02\x00"), "header of 20000 bytes"),
        (header("{"), "header of the body cannot be read"),
        (header("(" * 3000), "cannot be read"),
        (header(described(shape="(-1,)")), "the shape"),
        (header(described(shape="(True,)")), "the shape"),
        (header(described(shape="1")), "cannot be read"),
        (header(described(shape="(1,) * 9")), "cannot be read"),
        (header(described(shape=f"({10**30},)")), "has 4"),
        (header(described(shape=f"(0, {10**30})")), "shape that no array has"),
        (header(described(shape=str((1,) * 70)), data=bytes(4)), "shape that no array has"),
        (header(described(descr="'|O'"), data=bytes(8)), "pickled"),
        (header(described(descr="'|S0'", shape="(9000000000,)")), "dtype"),
        (header(described(descr="[('a', '<f4')]"), data=bytes(4)), "dtype"),
        (header(described(descr="'<m8[s]'"), data=bytes(8)), "dtype"),
        (header(described(descr="'nonsense'")), "cannot be read"),
        (header(described(descr="'|b1'"), data=b"\x02"), "neither 0 nor 1"),
        (header(described(descr="'<U1'"), data=b"\xff\xff\xff\x7f"), "not Unicode"),
        (header(described(descr="'<U1'"), data=struct.pack("<I", 0xD800)), "not Unicode"),
        (header(described(descr="'>U1'"), data=struct.pack(">I", 0xD800)), "not Unicode"),
        (header(described(), data=bytes(3)), "holds 3 bytes"),
        (header(described(), data=bytes(5)), "holds 5 bytes"),
    ],
)
def test_what_is_no_array_says_so(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        npy.read_npy(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no .npz"),
        (b"PK\x03\x04", "no .npz"),
        (zipped(), "no array"),
        (zipped(readme=b""), "'readme'"),
        (zipped(x_npy=b"1"), "Array 'x' is no NumPy file"),
        (zipped(x_npy=saved(np.array([{}])[:0])), "Array 'x' holds Python objects"),
        (zipped(**{f"x{number}_npy": b"" for number in range(1001)}), "1001 arrays"),
    ],
)
def test_what_is_no_npz_says_so(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        npy.read_npz(body, LARGE)


def test_a_bomb_is_not_inflated() -> None:
    with pytest.raises(PayloadTooLarge, match="SAGEMAKER_TFS_MAX_INFLATED_MB"):
        npy.read_npz(zipped(x_npy=bytes(LARGE + 1)), LARGE)


def test_a_bomb_that_lies_about_its_size() -> None:
    body = zipped(x_npy=bytes(LARGE)).replace(struct.pack("<I", LARGE), struct.pack("<I", 9))
    with pytest.raises(BadRequest):
        npy.read_npz(body, 1000)


@given(ARRAYS, st.data())
def test_damaged_files_are_read_or_refused(array: Any, data: Any) -> None:
    for write, read in ((saved, npy.read_npy), (lambda array: npy.write_npz({"x": array}, LARGE), read_npz)):
        body = bytearray(write(array))
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(HttpError):
            read(bytes(body))


def read_npz(body: bytes) -> Any:
    return npy.read_npz(body, LARGE)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read, start in ((npy.read_npy, b"\x93NUMPY\x01\x00"), (read_npz, b"")):
        with contextlib.suppress(HttpError):
            read(start + body)


def test_strings_that_a_file_cannot_hold() -> None:
    with pytest.raises(npy.NoFile, match="zero byte"):
        npy.write_npy(np.array([b"a\0"], np.object_), LARGE)
    with pytest.raises(npy.NoFile, match="3 strings"):
        npy.write_npy(np.array([b"", b"", bytes(LARGE)], np.object_), LARGE)


@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00"])
def test_how_long_the_header_of_an_array_may_be(version: bytes) -> None:
    text = described().ljust(npy.MAX_HEADER_BYTES - 1) + "\n"
    assert npy.read_npy(header(text, version, bytes(4))).tolist() == [0.0]
    with pytest.raises(BadRequest, match="header of 10001 bytes"):
        npy.read_npy(header(" " + text, version, bytes(4)))


def test_as_many_arrays_as_there_may_be() -> None:
    array = saved(np.zeros(1, np.int8))
    body = zipped(**{f"x{number}_npy": array for number in range(npy.MAX_MEMBERS)})
    assert len(npy.read_npz(body, LARGE)) == 1000
