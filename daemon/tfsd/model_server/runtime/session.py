"""A SavedModel in a TensorFlow Session: the `Servable` that runs its signatures.

Owns the Session and its callables. Never decides when it is loaded or unloaded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from tfsd.model_server.batching.parameters import BatchParameters
from tfsd.model_server.batching.queues import BatchQueue, BatchThreads
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.lead import leave
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.runtime import tf
from tfsd.model_server.runtime.calls import Call
from tfsd.model_server.runtime.tensors import decode
from tfsd.model_server.servable import Arrays

_CPP_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


def serving_error(error: Exception) -> ServingError:
    """What TensorFlow raised, with its code and text."""
    if isinstance(error, tf.errors.OpError):
        return ServingError(Code(error.error_code), str(error.message))
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def type_name(dtype: Any) -> str:
    """A type as TensorFlow's C++ texts name it: `float`, `half`, `string`, ..."""
    name = tf.as_dtype(dtype).name
    return _CPP_NAMES.get(name, name)


@cache
def _array_dtype(dtype: int) -> np.dtype:
    """The dtype of the arrays for a tensor; other ones of the same type are taken as well."""
    return np.dtype(tf.as_dtype(dtype).as_numpy_dtype)


class SessionServable:
    """A loaded version (see `servable.Servable`). `bounded`: see `calls.is_bounded`."""

    def __init__(
        self,
        name: str,
        version: int,
        session: Any,
        signature_defs: Mapping[str, Any],
        metrics: Metrics,
        batching: tuple[BatchThreads, BatchParameters] | None = None,
        check_method_names: bool = False,
        bounded: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.signature_defs = signature_defs
        self.check_method_names = check_method_names
        self._session = session
        self._bounded = bounded
        self._metrics = metrics
        self._feeds = {
            key: [(alias, info.name, self._dtype(info)) for alias, info in sorted(signature.inputs.items())]
            for key, signature in signature_defs.items()
        }
        self._input_dtypes = {
            key: {alias: info.dtype for alias, info in signature.inputs.items()}
            for key, signature in signature_defs.items()
        }
        self._output_dtypes = {
            key: {alias: self._dtype(info) for alias, info in sorted(signature.outputs.items())}
            for key, signature in signature_defs.items()
        }
        self._outputs = {key: tuple(dtypes) for key, dtypes in self._output_dtypes.items()}
        self._batching = batching
        self._lock = threading.Lock()
        self._calls: dict[Any, Call] = {}
        self._queues: dict[Any, BatchQueue] = {}

    def signature(self, name: str) -> Any | None:
        return self.signature_defs.get(name)

    def input_dtypes(self, signature_name: str) -> Mapping[str, int] | None:
        return self._input_dtypes.get(signature_name)

    def output_dtypes(self, signature_name: str) -> Mapping[str, int]:
        return self._output_dtypes[signature_name]

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_names: Sequence[str] | None = None,
        timeout_ms: int | None = None,
        api: str = "Predict",
    ) -> Arrays:
        inputs = self._checked(signature_name, inputs)
        outputs = self._outputs[signature_name] if output_names is None else tuple(sorted(set(output_names)))
        started = time.perf_counter()
        if self._batching is None:
            computed = self._compute(signature_name, inputs, outputs, timeout_ms)
        else:
            leave()
            computed = self._queue(signature_name, outputs).run(inputs, timeout_ms)
        microseconds = (time.perf_counter() - started) * 1e6
        self._metrics.runtime_latency.add(microseconds, (self.name, api, "TF1"))
        if api != "Predict":  # the others' only input are the tf.Examples
            self._metrics.examples(self.name, len(next(iter(inputs.values()))))
        return computed

    def close(self) -> None:
        """Free the Session; nobody may be running."""
        self._calls.clear()
        self._queues.clear()
        self._session.close()

    def _dtype(self, info: Any) -> int:
        """The type of a signature's tensor in the graph, which the declared one need not be: the real server never
        looks at that."""
        try:
            tensor = self._session.graph.get_tensor_by_name(info.name)
        except (KeyError, ValueError):  # a composite tensor, or a mistake that is told when it is run
            return int(info.dtype)
        return int(tensor.dtype.as_datatype_enum)

    def _checked(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs in the order in which they are fed, defaults filled in, types checked."""
        checked = {}
        for index, (alias, _, dtype) in enumerate(self._feeds[signature_name]):
            array = inputs.get(alias)
            if array is None:
                array = decode(self.signature_defs[signature_name].defaults[alias], alias)
            if array.dtype != _array_dtype(dtype):
                kind = tf.string if array.dtype.kind == "O" else tf.as_dtype(array.dtype)
                if kind.as_datatype_enum != dtype:
                    want = type_name(dtype)
                    raise invalid(f"Expects arg[{index}] to be {want} but {type_name(kind)} is provided")
            checked[alias] = array
        return checked

    def _compute(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: int | None,
    ) -> Arrays:
        """Run the Session. Calls release the interpreter lock, so several run at once."""
        key = (signature_name, outputs, timeout)
        try:
            call = self._calls.get(key) or self._prepare(key)
            values = call(list(inputs.values()))
        except Exception as error:
            raise serving_error(error) from None
        return dict(zip(outputs, map(_array, values), strict=True))

    def _prepare(self, key: tuple[str, tuple[str, ...], int | None]) -> Call:
        leave()
        signature_name, outputs, timeout = key
        signature = self.signature_defs[signature_name]
        feeds = [name for _, name, _ in self._feeds[signature_name]]
        fetches = [signature.outputs[alias].name for alias in outputs]
        with self._lock:
            if key not in self._calls:
                self._calls[key] = Call(
                    self._session, feeds, fetches, timeout, self._bounded, self._metrics.graph_run_times.add
                )
            return self._calls[key]

    def _queue(self, signature_name: str, outputs: tuple[str, ...]) -> BatchQueue:
        key = (signature_name, outputs)
        queue = self._queues.get(key)
        if queue is None:
            assert self._batching is not None
            threads, parameters = self._batching
            with self._lock:
                queue = self._queues.setdefault(
                    key,
                    BatchQueue(
                        threads,
                        parameters,
                        lambda inputs: self._compute(signature_name, inputs, outputs, None),
                        self._metrics,
                    ),
                )
        return queue


def _array(value: Any) -> np.ndarray:
    """A fetched value as an array: TensorFlow gives scalars as NumPy scalars and as bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
