"""The arrays of a batch: which go together, putting them together, and taking results apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from tfsd.model_server.errors import Code, ServingError

Arrays = Mapping[str, np.ndarray]


def group_key(inputs: Arrays, pad: bool) -> Hashable:
    """Requests with equal keys can be concatenated: same inputs, types and inner shapes (ranks, if padded)."""
    return tuple(
        (alias, inputs[alias].dtype, inputs[alias].ndim if pad else inputs[alias].shape[1:])
        for alias in sorted(inputs)
    )


def concatenate(requests: Sequence[Arrays], total: int, pad: bool) -> dict[str, np.ndarray]:
    """Concatenate requests of one group on dimension 0 and pad to `total` rows.

    Padding rows repeat the first row of the last request, which is known to be valid. Inner dimensions are
    padded (if `pad`) at their ends with the request's own first element.
    """
    return {
        alias: _concatenate([request[alias] for request in requests], total, pad) for alias in requests[0]
    }


def _concatenate(arrays: list[np.ndarray], total: int, pad: bool) -> np.ndarray:
    if pad and len(arrays) > 1:
        inner = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
        arrays = [_pad_inner(array, inner) for array in arrays]
    missing = total - sum(len(array) for array in arrays)
    if missing > 0:
        arrays = [*arrays, np.repeat(arrays[-1][:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _pad_inner(array: np.ndarray, inner: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == inner:
        return array
    if not array.size:
        raise ServingError(Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    result = np.empty((len(array), *inner), array.dtype)
    result[...] = array.flat[0]
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def split(outputs: Arrays, sizes: Sequence[int], total: int) -> list[dict[str, np.ndarray]]:
    """Take a batch's outputs (`total` rows each) apart into those of its requests (`sizes` rows each).

    Raises ServingError: FAILED_PRECONDITION for an output that is not one row for each row of input.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(array) != total:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
                "the input tensors",
            )
    results, start = [], 0
    for size in sizes:
        results.append({alias: array[start : start + size] for alias, array in outputs.items()})
        start += size
    return results
