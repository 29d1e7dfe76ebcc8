#!/usr/bin/env python3
"""Make the example's models, one a directory below `models/`, as a multi-model endpoint of SageMaker has them.

./bin/local exec python examples/zoo/train.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

MODELS = Path(__file__).parent / "models"
CONVERSIONS = {"fahrenheit": (1.8, 32.0), "kelvin": (1.0, 273.15)}


class Conversion(tf.Module):
    """From degrees Celsius."""

    def __init__(self, factor: float, offset: float) -> None:
        self.factor, self.offset = tf.Variable(factor), tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="celsius")])
    def predict(self, celsius):
        return {"degrees": self.factor * celsius + self.offset}


def main() -> None:
    for name, numbers in CONVERSIONS.items():
        model = Conversion(*numbers)
        directory = MODELS / name / name / "1"
        shutil.rmtree(directory, ignore_errors=True)
        tf.saved_model.save(model, str(directory), signatures=model.predict)


if __name__ == "__main__":
    main()
