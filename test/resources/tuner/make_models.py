"""Builds models whose calls take a + b * n milliseconds for n rows, one call at a time, and no CPU.

usage: python make_models.py DIRECTORY

They are a device on paper: a mutex, and an element of a data set that sleeps. Each lies in a directory of its name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

raw = tf.raw_ops
SLEEPS = 2  # the data set sleeps before its element, and once more before its end
COSTS = {"flat": (20.0, 0.0), "linear": (0.0, 40.0), "mixed": (16.0, 2.0)}


class Device(tf.Module):
    """`serving_default` sums each row of `x`, after the time that the device takes."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self._a, self._b = a, b

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        rows = tf.cast(tf.shape(x)[0], tf.float32)
        micros = tf.cast(1000 * (self._a + self._b * rows) / SLEEPS, tf.int64)
        lock = raw.MutexLock(mutex=raw.MutexV2(shared_name="device", container=""))
        with tf.control_dependencies([lock]):
            source = raw.RangeDataset(
                start=tf.constant(0, tf.int64),
                stop=tf.constant(1, tf.int64),
                step=tf.constant(1, tf.int64),
                output_types=[tf.int64],
                output_shapes=[[]],
            )
            sleeping = raw.SleepDataset(
                input_dataset=source, sleep_microseconds=micros, output_types=[tf.int64], output_shapes=[[]]
            )
            slept = raw.DatasetToSingleElement(dataset=sleeping, output_types=[tf.int64], output_shapes=[[]])
        with tf.control_dependencies(slept):
            unlocked = raw.ConsumeMutexLock(mutex_lock=lock)
        with tf.control_dependencies([unlocked]):
            return {"y": tf.reduce_sum(x, axis=1)}


def main(directory: Path) -> None:
    for name, (a, b) in COSTS.items():
        device = Device(a, b)
        signatures = {"serving_default": device.serve.get_concrete_function()}
        tf.saved_model.save(device, str(directory / name / name / "1"), signatures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
