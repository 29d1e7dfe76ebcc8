"""Models for the Open Inference Protocol: `python make_models.py DIRECTORY`.

`echo` gives each input back, one of every dtype that the protocol and TensorFlow share; its signature `other` has one
of complex numbers, for which the protocol has no name. `sum` adds the rows of a matrix.
"""

import sys
from pathlib import Path

import tensorflow as tf

DTYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BF16": tf.bfloat16,
    "BYTES": tf.string,
}


def echo() -> tf.Module:
    specs = {name: tf.TensorSpec([None, 2], dtype, name=name) for name, dtype in DTYPES.items()}

    module = tf.Module()
    names = list(specs)

    def run(*tensors):
        return {f"out_{name}": tf.identity(tensor) for name, tensor in zip(names, tensors, strict=True)}

    module.run = tf.function(run, input_signature=list(specs.values()))
    module.one = tf.function(
        lambda FP32: {"doubled": FP32 * 2}, input_signature=[tf.TensorSpec([None], tf.float32, name="FP32")]
    )
    module.other = tf.function(
        lambda x: {"z": tf.complex(x, x), "x": x},
        input_signature=[tf.TensorSpec([None], tf.float32, name="x")],
    )
    return module


def main(directory: Path) -> None:
    module = echo()
    signatures = {"serving_default": module.run, "one": module.one, "other": module.other}
    tf.saved_model.save(module, str(directory / "echo" / "7"), signatures=signatures)
    added = tf.Module()
    added.run = tf.function(
        lambda m: {"sum": tf.reduce_sum(m, axis=1)},
        input_signature=[tf.TensorSpec([None, 3], tf.float32, name="m")],
    )
    for version in ("1", "2"):
        tf.saved_model.save(
            added, str(directory / "sum" / version), signatures={"serving_default": added.run}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
