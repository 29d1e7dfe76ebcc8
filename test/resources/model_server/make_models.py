"""Builds the models that the recordings were made with, and their models.config.

usage: python make_models.py DIRECTORY

The names of kernels in recorded error texts depend on how many operations were made before: append new
models at the end, and keep the lambdas lambdas.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
F32, I32, I64, STR = tf.float32, tf.int32, tf.int64, tf.string
Signatures = dict[str, tuple[Callable[..., Any], list[Any]]]

DTYPES = (
    *("float16", "bfloat16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bool", "string", "complex64", "complex128"),
)
VECTOR_DTYPES = ("float16", "float32", "int64", "int32", "uint8", "bool", "float64")
CONTROL_CHARACTERS = b'\x01\t\n"\\/\x7f\xe2\x80\xa8<>&'


def spec(shape: Any, dtype: Any, name: str) -> Any:
    return tf.TensorSpec(shape, dtype, name)


def half_plus(path: Path, factor: float, offset: float) -> None:
    """A TF1 model: predict on floats, classify and regress on serialized tf.Examples with y = factor x + offset."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        a = v1.get_variable("a", initializer=tf.constant(factor, F32))
        b = v1.get_variable("b", initializer=tf.constant(offset, F32))
        x = v1.placeholder(F32, [None], name="x")
        y = tf.add(a * x, b, name="y")
        serialized = v1.placeholder(STR, [None], name="tf_example")
        features = v1.parse_example(
            serialized,
            {
                "x": tf.io.FixedLenFeature([1], F32),
                "x2": tf.io.FixedLenFeature([1], F32, default_value=[0.0]),
                "name": tf.io.FixedLenFeature([1], STR, default_value=["none"]),
                "age": tf.io.FixedLenFeature([1], I64, default_value=[7]),
            },
        )
        column = tf.add(a * features["x"], b, name="ry")
        flat = tf.squeeze(column, 1, name="ry1")
        second = tf.add(a * features["x2"], b, name="ry2")
        two_wide = tf.concat([column, column], 1, name="rbad")  # no legal output of a regression
        scores = tf.concat([column, second, features["x"]], 1, name="scores")
        labels = tf.constant([[b"cat", b"dog", b'm\xc3\xbcs "x"']])
        classes = tf.tile(labels, [tf.shape(column)[0], 1], name="classes")
        odd_labels = tf.constant([[b"\xff\xfe", b"ok", b""]])
        binary = tf.tile(odd_labels, [tf.shape(column)[0], 1], name="binclasses")
        name = tf.identity(features["name"], name="echo_name")
        age = tf.cast(features["age"], F32, name="fage")
        odd = tf.stack(
            [
                tf.math.log(features["x"][:, 0] * 0.0 - 1.0),
                1.0 / (features["x"][:, 0] * 0.0),
                -1.0 / (features["x"][:, 0] * 0.0),
            ],
            1,
            name="nanscores",
        )
        session.run(v1.global_variables_initializer())

        def signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
            info = v1.saved_model.utils.build_tensor_info
            return v1.saved_model.signature_def_utils.build_signature_def(
                {key: info(value) for key, value in inputs.items()},
                {key: info(value) for key, value in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        def regress(output: Any, alias: str = "outputs") -> Any:
            return signature("regress", {"inputs": serialized}, {alias: output})

        def classify(**outputs: Any) -> Any:
            return signature("classify", {"inputs": serialized}, outputs)

        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature("predict", {"x": x}, {"y": y}),
                "regress_x_to_y": regress(column),
                "regress_flat": regress(flat),
                "regress_x2_to_y2": regress(second),
                "regress_bad": regress(two_wide),
                "regress_age": regress(age),
                "regress_wrongout": regress(column, "wrong"),
                "regress_nan": regress(tf.identity(odd[:, 0:1], name="rnan")),
                "classify_x_to_y": classify(classes=classes, scores=scores),
                "classify_scores_only": classify(scores=scores),
                "classify_classes_only": classify(classes=classes),
                "classify_bin": classify(classes=binary, scores=scores),
                "classify_name": classify(classes=name, scores=column),
                "classify_mismatch": classify(classes=name, scores=scores),
                "classify_nan": classify(classes=classes, scores=odd),
                "predict_ex": signature(
                    "predict", {"inputs": serialized}, {"scores": scores, "classes": classes}
                ),
            },
        )
        builder.save()


def save(root: Path, model: str, signatures: Signatures) -> None:
    """A TF2 model, version 1, with a traced function for each signature."""
    module = tf.Module()
    traced = {}
    for key, (function, specs) in signatures.items():
        traceable = tf.function(function, input_signature=specs)
        setattr(module, f"fn_{key}", traceable)
        traced[key] = traceable.get_concrete_function()
    tf.saved_model.save(module, str(root / model / "1"), signatures=traced)


def numbers(root: Path) -> None:
    save(
        root,
        "matrix",
        {
            "serving_default": (
                lambda x: {"sum": tf.reduce_sum(x, 1), "scaled": x * 10.0},
                [spec([None, 3], F32, "x")],
            )
        },
    )
    a, b = spec([None], I32, "a"), spec([None], F32, "b")
    save(
        root,
        "multi",
        {
            "serving_default": (
                lambda a, b: {"sum": tf.cast(a, F32) + b, "product": tf.cast(a, F32) * b},
                [a, b],
            ),
            "swapped": (lambda a, b: {"sum": tf.cast(a, F32) - b}, [a, b]),
            "pair": (
                lambda x, y: {"out": tf.concat([x, y], 1)},
                [spec([None, 2], F32, "x"), spec([None, 1], F32, "y")],
            ),
        },
    )


def strings(root: Path) -> None:
    s, anything = spec([None], STR, "s"), spec(None, STR, "s")
    save(
        root,
        "string",
        {
            "serving_default": (lambda s: {"out": tf.strings.upper(s, encoding="utf-8")}, [s]),
            "bytes": (
                lambda image_bytes: {
                    "out_bytes": tf.identity(image_bytes),
                    "len": tf.strings.length(image_bytes),
                },
                [spec([None], STR, "image_bytes")],
            ),
            "both": (lambda s: {"out": tf.identity(s), "out_bytes": tf.identity(s)}, [s]),
            "raw": (lambda s: {"out": tf.identity(s)}, [anything]),
            "raw_bytes": (lambda s: {"out_bytes": tf.identity(s)}, [anything]),
            "const_bin": (lambda s: {"out": tf.fill(tf.shape(s), tf.constant(b"\xff\xfe\x00a"))}, [s]),
            "const_ctrl": (lambda s: {"out": tf.fill(tf.shape(s), tf.constant(CONTROL_CHARACTERS))}, [s]),
        },
    )


def echo(root: Path) -> None:
    signatures: Signatures = {}
    for name in DTYPES:
        signatures[name] = (lambda x: {"y": tf.identity(x)}, [spec(None, getattr(tf, name), "x")])
    for name in VECTOR_DTYPES:
        signatures[f"v_{name}"] = (lambda x: {"y": tf.identity(x)}, [spec([None], getattr(tf, name), "x")])
    anything = [spec(None, F32, "x")]
    signatures["serving_default"] = signatures["float32"]
    signatures["out_uint16"] = (lambda x: {"y": tf.cast(x, tf.uint16)}, anything)
    signatures["out_bfloat16"] = (lambda x: {"y": tf.cast(x, tf.bfloat16)}, anything)
    signatures["out_complex"] = (lambda x: {"y": tf.complex(x, x)}, anything)
    signatures["qint8"] = (
        lambda x: {"y": tf.quantization.quantize(x, -1.0, 1.0, tf.qint8).output},
        anything,
    )
    save(root, "echo", signatures)


def shapes(root: Path) -> None:
    scalar, vector = spec([], F32, "x"), spec([None], F32, "x")
    save(
        root,
        "scalar",
        {
            "serving_default": (lambda x: {"y": x * 2.0}, [scalar]),
            "two": (lambda x, y: {"z": x + y}, [scalar, spec([], F32, "y")]),
        },
    )
    fixed = [spec([2, 3], F32, "x")]
    save(
        root,
        "fixed",
        {
            "serving_default": (lambda x: {"y": tf.matmul(x, tf.ones([3, 1]))}, fixed),
            "strict": (lambda x: {"y": tf.reshape(x, [2, 3]) + 1.0}, fixed),
            "ensure": (
                lambda x: {"y": tf.raw_ops.EnsureShape(input=x, shape=[2, 3])},
                [spec(None, F32, "x")],
            ),
        },
    )
    save(
        root,
        "shapes",
        {
            "serving_default": (lambda x: {"y": tf.reduce_sum(x)}, [vector]),
            "mixed": (lambda x: {"y": x, "total": tf.reduce_sum(x)}, [vector]),
            "mismatch": (lambda x: {"a": x, "b": tf.concat([x, x], 0)}, [vector]),
            "empty": (lambda x: {"y": x[0:0]}, [vector]),
            "wide0": (lambda x: {"y": tf.zeros([tf.shape(x)[0], 0])}, [vector]),
            "deep": (lambda x: {"y": tf.reshape(x, [-1, 1, 2, 1])}, [vector]),
            "deep2": (
                lambda x: {"y": tf.reshape(x, [-1, 1, 2, 1]), "z": tf.reshape(x, [-1, 2])},
                [vector],
            ),
            "noinput": (lambda: {"y": tf.constant([1.0, 2.0])}, []),
        },
    )
    save(
        root,
        "nums",
        {
            "serving_default": (
                lambda x: {"div0": x / 0.0, "sqrt": tf.sqrt(x), "thirds": x / 3.0},
                [vector],
            ),
            "f64": (lambda x: {"thirds": x / 3.0, "log": tf.math.log(x)}, [spec([None], tf.float64, "x")]),
            "f16": (lambda x: {"thirds": tf.cast(x, tf.float16) / 3.0}, [vector]),
        },
    )


def asserting(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_positive(x, message="x must be positive")]):
        return {"y": tf.identity(x)}


def slow(n: Any) -> Any:
    """Multiplies matrices n[0] times, one after another."""

    def step(i: Any, total: Any) -> Any:
        product = tf.linalg.matmul(tf.ones([64, 64]) * 0.001, tf.ones([64, 64]))
        return i + 1, total + tf.reduce_sum(product) * 1e-9

    start = (tf.constant(0, I64), tf.constant(0.0))
    result = tf.while_loop(lambda i, total: i < tf.cast(n[0], I64), step, start, parallel_iterations=1)
    return {"y": tf.fill(tf.shape(n), result[1])}


def errors(root: Path) -> None:
    s = [spec([None], STR, "s")]
    save(
        root,
        "errors",
        {
            "serving_default": (asserting, [spec([None], F32, "x")]),
            "gather": (
                lambda i: {"y": tf.gather(tf.constant([1.0, 2.0, 3.0]), i)},
                [spec([None], I32, "i")],
            ),
            "decode": (lambda s: {"y": tf.io.decode_raw(s, F32)}, s),
            "parsenum": (lambda s: {"y": tf.strings.to_number(s)}, s),
            "divint": (lambda a, b: {"q": a // b}, [spec([None], I32, "a"), spec([None], I32, "b")]),
            "slow": (slow, [spec([None], I32, "n")]),
        },
    )


def names(root: Path) -> None:
    vector = spec([None], F32, "x")
    save(root, "nodefault", {"only_sig": (lambda x: {"y": x + 1.0}, [vector])})
    save(
        root,
        "named_inputs",
        {
            "serving_default": (lambda inputs: {"outputs": inputs * 2.0}, [spec([None], F32, "inputs")]),
            "inst": (lambda instances: {"predictions": instances * 3.0}, [spec([None], F32, "instances")]),
            "b64": (lambda b64: {"y": tf.identity(b64)}, [spec([None], STR, "b64")]),
        },
    )


def write_config(root: Path) -> None:
    """models.config: all models, some of them under several names, versions and labels."""

    def entry(name: str, directory: str, more: str = "") -> str:
        path = root / directory
        return f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}\n'

    plain = "half_plus_three matrix multi string echo scalar fixed shapes nums errors nodefault named_inputs dynamic"
    labels = 'version_labels { key: "stable" value: 123 } version_labels { key: "canary" value: 124 }'
    specific = "model_version_policy { specific { versions: 123 versions: 124 } }"
    entries = [
        entry("half_plus_two", "half_plus_two", f"{specific} {labels}"),
        entry("hpt_latest", "half_plus_two"),
        entry("hpt_all", "half_plus_two", "model_version_policy { all { } }"),
        entry("ns/model.v1 x", "half_plus_three"),
        *(entry(name, name) for name in plain.split()),
    ]
    (root / "models.config").write_text("model_config_list {\n" + "".join(entries) + "}\n")


def build(root: Path) -> None:
    """Everything, in the order that the recordings need."""
    half_plus(root / "half_plus_two" / "123", 0.5, 2.0)
    half_plus(root / "half_plus_two" / "124", 0.5, 3.0)
    half_plus(root / "half_plus_three" / "1", 0.5, 3.0)
    for make in (numbers, strings, echo, shapes, errors, names):
        make(root)
    (root / "bad_model" / "1").mkdir(parents=True)
    (root / "bad_model" / "1" / "saved_model.pb").write_bytes(b"this is no proto")
    (root / "empty_model").mkdir()
    save(root, "dynamic", {"serving_default": (lambda x: {"y": x + 1.0}, [spec([None], F32, "x")])})
    write_config(root)


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
