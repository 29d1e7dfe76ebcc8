#!/usr/bin/env python3
"""Train the example: how many bicycles are rented in an hour, from the time and the weather.

    ./bin/local exec python examples/rentals/train.py

Data: made up here, by a rule with noise; the example is about serving. Writes the SavedModel `rentals/1` beside this
file and prints the mean error on the data that was held out.

Signature: hour, weekday (0 is Monday), temperature, humidity: float [n]  ->  rentals: float [n]
"""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
ROWS = 8000
NAMES = ("hour", "weekday", "temperature", "humidity")


def made_up(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of ROWS hours, and the rentals of each."""
    columns = {
        "hour": rng.integers(0, 24, ROWS),
        "weekday": rng.integers(0, 7, ROWS),
        "temperature": rng.uniform(-5, 35, ROWS),
        "humidity": rng.uniform(20, 100, ROWS),
    }
    rush = np.exp(-((columns["hour"] - 8) ** 2) / 4) + np.exp(-((columns["hour"] - 18) ** 2) / 6)
    working = columns["weekday"] < 5
    warm = np.clip(columns["temperature"], 0, 28) / 28
    rentals = (40 + 260 * rush * working + 120 * (~working)) * warm * (1.3 - columns["humidity"] / 150)
    return {name: column.astype(np.float32) for name, column in columns.items()}, rentals.astype(np.float32)


class Rentals(tf.Module):
    """Two layers behind features that go round: hours and weekdays have no end."""

    def __init__(self) -> None:
        rng = tf.random.Generator.from_seed(7)
        sizes = (6, 24, 24, 1)
        self.weights = [tf.Variable(rng.normal([a, b]) / math.sqrt(a)) for a, b in itertools.pairwise(sizes)]
        self.biases = [tf.Variable(tf.zeros([size])) for size in sizes[1:]]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name=name) for name in NAMES])
    def predict(self, hour, weekday, temperature, humidity):
        day, week = hour * (2 * math.pi / 24), weekday * (2 * math.pi / 7)
        features = [tf.sin(day), tf.cos(day), tf.sin(week), tf.cos(week), temperature / 20, humidity / 50]
        layer = tf.stack(features, axis=1)
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            layer = tf.nn.relu(layer @ weights + bias)
        return {"rentals": 100 * tf.nn.softplus(tf.squeeze(layer @ self.weights[-1] + self.biases[-1], 1))}


def main() -> None:
    columns, rentals = made_up(np.random.default_rng(7))
    cut = ROWS * 4 // 5
    model, optimizer = Rentals(), tf.keras.optimizers.Adam(0.005)
    batches = tf.data.Dataset.from_tensor_slices((*(columns[name][:cut] for name in NAMES), rentals[:cut]))
    for batch in batches.shuffle(cut, seed=7).repeat(30).batch(128):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model.predict(*batch[:-1])["rentals"] - batch[-1]) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    held_out = model.predict(*(columns[name][cut:] for name in NAMES))["rentals"]
    print(f"mean error {np.abs(held_out - rentals[cut:]).mean():.1f} of {rentals[cut:].mean():.1f} rentals")
    shutil.rmtree(HERE / "rentals" / "1", ignore_errors=True)
    tf.saved_model.save(model, str(HERE / "rentals" / "1"), signatures=model.predict)


if __name__ == "__main__":
    main()
