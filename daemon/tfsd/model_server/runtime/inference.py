"""The verbs without a transport: predict, classify, regress and multi-inference on a servable.

Used by gRPC, REST and warm-up. Raises the real server's error texts; never parses a wire format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.runtime import tf
from tfsd.model_server.runtime.tensors import decode
from tfsd.model_server.servable import Arrays, Servable

DEFAULT_SIGNATURE = "serving_default"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))

#: One example's classes: (label bytes, score) pairs; an absent label is b"", an absent score 0.0.
Classification = list[tuple[bytes, float]]


def predict(servable: Servable, request: Any, timeout_ms: int | None = None) -> Arrays:
    """Run a `PredictRequest` on its servable: output alias -> array.

    Raises ServingError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs or a filter
        that do not fit it, or what the graph says.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature, wanted = servable.signature(name), servable.input_dtypes(name)
    if signature is None or wanted is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    check_predict(servable, signature)
    given = list(request.inputs)
    if set(given) != wanted.keys():
        _check_inputs(signature, given)
    inputs = {alias: decode(request.inputs[alias], alias) for alias in given}
    return servable.run(name, inputs, _output_aliases(signature, request.output_filter), timeout_ms)


def check_predict(servable: Servable, signature: Any) -> None:
    """With --enable_signature_method_name_check, refuse signatures that are not made for inference.

    Raises ServingError: INTERNAL, as the real server.
    """
    if not servable.check_method_names:
        return
    methods = (PREDICT, CLASSIFY, REGRESS)
    if signature.method_name not in methods:
        raise ServingError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(methods)}}}. "
            f"Was: {signature.method_name}",
        )


def _check_inputs(signature: Any, given: Iterable[str]) -> None:
    """Inputs that are not exactly a signature's. Raises ServingError, unless those missing have defaults."""
    sent, wanted = set(given), set(signature.inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_join(sent)}}}) != "
            f"len({{{_join(wanted)}}}). Sent extra: {{{_join(sent - wanted)}}}. "
            f"Missing but required: {{{_join(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent - set(signature.defaults)):
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and "
            f"no default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default "
            f"input alias set: {_join(signature.defaults)}"
        )
    if not sent <= wanted:
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {_join(sent & wanted)}, "
            f"request input: {_join(sent)}"
        )


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _output_aliases(signature: Any, output_filter: Sequence[str]) -> list[str] | None:
    if not output_filter:
        return None
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_join(signature.outputs)}}}."
            )
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(output_filter)


def examples(message: Any) -> list[bytes]:
    """The serialized `tf.Example`s of an `Input` message, its context merged under each one."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(message, kind)
    # Concatenated serializations merge, and of two values for one feature the later one holds.
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in listed.examples]


def classify(
    servable: Servable, signature_name: str, serialized: Sequence[bytes], timeout_ms: int | None = None
) -> list[Classification]:
    """Classify serialized `tf.Example`s with a signature (empty name: `serving_default`).

    Returns: for each example its (label, score) pairs.
    Raises ServingError: unknown signature, no example, or what the graph says.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = _find(servable, name, CLASSIFY, "classification")
    wanted = check_classification(signature)
    outputs = servable.run(name, {"inputs": _example_array(serialized)}, wanted, timeout_ms, "Classify")
    return classifications(outputs, len(serialized))


def regress(
    servable: Servable, signature_name: str, serialized: Sequence[bytes], timeout_ms: int | None = None
) -> list[float]:
    """Regress serialized `tf.Example`s with a signature (empty name: `serving_default`).

    Returns: one value (a float32 as a Python float) for each example.
    Raises ServingError: unknown signature, no example, or what the graph says.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = _find(servable, name, REGRESS, "regression")
    check_regression(signature)
    outputs = servable.run(name, {"inputs": _example_array(serialized)}, ["outputs"], timeout_ms, "Regress")
    return regressions(outputs, len(serialized))


def multi_inference(servable: Servable, request: Any) -> list[tuple[str, list[Classification] | list[float]]]:
    """Run a `MultiInferenceRequest`: for each task its signature's name and its result.

    Each signature may have an input tensor of its own, as those of a TensorFlow 2 model have.
    """
    names = _check_tasks(servable, request)
    serialized = examples(request.input)
    results: list[tuple[str, list[Classification] | list[float]]] = []
    for name, task in zip(names, request.tasks, strict=True):
        verb = classify if task.method_name == CLASSIFY else regress
        results.append((name, verb(servable, name, serialized)))
    return results


def _check_tasks(servable: Servable, request: Any) -> list[str]:
    names: list[str] = []
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in names:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        names.append(name)
        signature = servable.signature(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            _check_method(servable, signature, CLASSIFY, "classification")
            check_classification(signature)
        elif task.method_name == REGRESS:
            _check_method(servable, signature, REGRESS, "regression")
            check_regression(signature)
        else:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    return names


def _find(servable: Servable, name: str, method: str, kind: str) -> Any:
    signature = servable.signature(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    _check_method(servable, signature, method, kind)
    return signature


def _check_method(servable: Servable, signature: Any, method: str, kind: str) -> None:
    if servable.check_method_names and signature.method_name != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}")


def check_classification(signature: Any) -> list[str]:
    """The outputs to fetch for a classification. Raises ServingError: INVALID_ARGUMENT."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {_debug(signature)}")
    wanted = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not wanted:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {_debug(signature)}"
        )
    return wanted


def check_regression(signature: Any) -> None:
    """Whether a signature can regress. Raises ServingError: INVALID_ARGUMENT."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {_debug(signature)}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {_debug(signature)}")


def _debug(signature: Any) -> str:
    """A message as C++ protobuf's DebugString writes it; what follows the address is random there."""
    return f"goo.gle/debugstr  \n{text_format.MessageToString(signature)}"


def _example_array(serialized: Sequence[bytes]) -> np.ndarray:
    if not serialized:
        raise invalid("Input is empty.")
    array = np.empty(len(serialized), object)
    array[:] = serialized
    return array


def classifications(outputs: Mapping[str, np.ndarray], count: int) -> list[Classification]:
    """The results of `count` examples from `classes` and/or `scores`, each `[count, number of classes]`.

    Raises ServingError: INVALID_ARGUMENT for other shapes or types.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, array, dtype in (("classes", classes, tf.string), ("scores", scores, tf.float32)):
        if array is not None:
            _check_classes(name, array, dtype, count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = classes.tolist() if classes is not None else [[b""] * scores.shape[1]] * count  # type: ignore[union-attr]
    values = scores.tolist() if scores is not None else [[0.0] * len(row) for row in labels]
    return [list(zip(*row, strict=True)) for row in zip(labels, values, strict=True)]


def _check_classes(name: str, array: np.ndarray, dtype: Any, count: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if _dtype(array) != dtype:
        raise invalid(f"Expected {name} Tensor of {_enum_name(dtype)}. Got: {_enum_name(_dtype(array))}")
    if len(array) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def regressions(outputs: Mapping[str, np.ndarray], count: int) -> list[float]:
    """The results of `count` examples from `outputs`, `[count]` or `[count, 1]`.

    Raises ServingError: INVALID_ARGUMENT for another shape or type.
    """
    array = outputs["outputs"]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _shape(array)
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if _dtype(array) != tf.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_enum_name(_dtype(array))}")
    return array.reshape(-1).tolist()


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _dtype(array: np.ndarray) -> Any:
    return tf.string if array.dtype.kind == "O" else tf.as_dtype(array.dtype)


def _enum_name(dtype: Any) -> str:
    return types_pb2.DataType.Name(dtype.as_datatype_enum)
