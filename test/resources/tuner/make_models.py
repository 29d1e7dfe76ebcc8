"""Builds models whose calls take time, but no CPU.

usage: python make_models.py DIRECTORY

A call takes a + b * n milliseconds for n rows, one call at a time. They are a device on paper: a mutex, and an element
of a data set that sleeps. Each lies in a directory of its name.

Calls of `waiting`, which lies by itself, take WAITING milliseconds each, whatever others do: whoever asks it again and
again has a request in flight almost all the time, without keeping the machine busy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

raw = tf.raw_ops
SLEEPS = 2  # the data set sleeps before its element, and once more before its end
WAITING = 100.0
COSTS = {"flat": (20.0, 0.0), "linear": (0.0, 40.0), "mixed": (16.0, 2.0)}


def asleep(micros: Any) -> Any:
    """What is there after so many microseconds, but for rounding."""
    source = raw.RangeDataset(
        start=tf.constant(0, tf.int64),
        stop=tf.constant(1, tf.int64),
        step=tf.constant(1, tf.int64),
        output_types=[tf.int64],
        output_shapes=[[]],
    )
    sleeping = raw.SleepDataset(
        input_dataset=source,
        sleep_microseconds=tf.cast(micros / SLEEPS, tf.int64),
        output_types=[tf.int64],
        output_shapes=[[]],
    )
    return raw.DatasetToSingleElement(dataset=sleeping, output_types=[tf.int64], output_shapes=[[]])


class Device(tf.Module):
    """`serving_default` sums each row of `x`, after the time that the device takes."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self._a, self._b = a, b

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        rows = tf.cast(tf.shape(x)[0], tf.float32)
        micros = 1000 * (self._a + self._b * rows)
        lock = raw.MutexLock(mutex=raw.MutexV2(shared_name="device", container=""))
        with tf.control_dependencies([lock]):
            slept = asleep(micros)
        with tf.control_dependencies(slept):
            unlocked = raw.ConsumeMutexLock(mutex_lock=lock)
        with tf.control_dependencies([unlocked]):
            return {"y": tf.reduce_sum(x, axis=1)}


class Waiting(tf.Module):
    """`serving_default` halves `x`, of any shape, and adds three; `sums` sums its last dimension."""

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        with tf.control_dependencies(asleep(tf.constant(1000 * WAITING))):
            return {"y": x / 2 + 3}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def sums(self, x: Any) -> dict[str, Any]:
        with tf.control_dependencies(asleep(tf.constant(1000 * WAITING))):
            return {"y": tf.reduce_sum(x, axis=-1)}


def main(directory: Path) -> None:
    waiting = Waiting()
    tf.saved_model.save(
        waiting,
        str(directory / "waiting" / "1"),
        {
            "serving_default": waiting.serve.get_concrete_function(),
            "sums": waiting.sums.get_concrete_function(),
        },
    )
    for name, (a, b) in COSTS.items():
        device = Device(a, b)
        signatures = {"serving_default": device.serve.get_concrete_function()}
        tf.saved_model.save(device, str(directory / name / name / "1"), signatures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
