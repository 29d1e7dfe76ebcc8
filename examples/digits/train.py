#!/usr/bin/env python3
"""Train the example: a small classifier of handwritten digits, exported with the decoding of images inside.

    ./bin/local exec python examples/digits/train.py

Data: scikit-learn's digits, 1797 real scans of 8x8 pixels that come with its wheel. Writes, beside this file,
the SavedModel `digits/1` and `sample.png`, a digit that the training never saw. Prints the accuracy on the
fifth of the data that was held out.

Signatures of the model:
  serving_default  image_bytes: string [n], PNG or JPEG files  ->  digit: int64 [n], probabilities: float [n, 10]
  pixels           pixels: float [n, 8, 8], 0 (paper) to 16 (ink)  ->  the same
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SIZE = 8
INK = 16.0


def augmented(pixels: tf.Tensor) -> tf.Tensor:
    """One image [8, 8, 1], moved by up to a pixel, with a little noise."""
    padded = tf.pad(pixels, [[1, 1], [1, 1], [0, 0]])
    moved = tf.image.random_crop(padded, [SIZE, SIZE, 1])
    return moved + tf.random.normal([SIZE, SIZE, 1], stddev=0.5)


def train(images: np.ndarray, labels: np.ndarray) -> tf.keras.Model:
    """A convolutional network on images [n, 8, 8, 1]; labels [n] are 0 to 9."""
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            layers.Input([SIZE, SIZE, 1]),
            layers.Rescaling(1 / INK),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=1)
    network.fit(data.map(lambda x, y: (augmented(x), y)).batch(64), epochs=60, verbose=0)
    return network


class Digits(tf.Module):
    """The network with what a served model needs around it."""

    def __init__(self, network: tf.keras.Model):
        super().__init__()
        self.network = network
        self.weights = [variable.value for variable in network.variables]  # what the TF1 loader restores

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE], tf.float32, "pixels")])
    def pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self.network(pixels[..., tf.newaxis], training=False)
        return {"digit": tf.argmax(probabilities, 1), "probabilities": probabilities}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.map_fn(
            as_pixels, image_bytes, fn_output_signature=tf.TensorSpec([SIZE, SIZE], tf.float32)
        )
        return self.pixels(pixels)


def as_pixels(image_bytes: tf.Tensor) -> tf.Tensor:
    """A PNG or JPEG of one digit, dark on light or light on dark, framed as the training data are: [8, 8]."""
    image = tf.cast(tf.io.decode_image(image_bytes, channels=1, expand_animations=False), tf.float32)[..., 0]
    image = tf.cond(tf.reduce_mean(image) > 127.5, lambda: 255.0 - image, lambda: image)
    ink = image > 0.3 * tf.reduce_max(image)
    rows, columns = tf.where(tf.reduce_any(ink, 1))[:, 0], tf.where(tf.reduce_any(ink, 0))[:, 0]
    image = tf.cond(
        tf.size(rows) > 0,
        lambda: image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
        lambda: image,
    )
    shape = tf.shape(image)
    side = tf.maximum(shape[0], shape[1])
    above, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    square = tf.pad(image, [[above, side - shape[0] - above], [left, side - shape[1] - left]])
    small = tf.image.resize(square[..., tf.newaxis], [SIZE, SIZE], method="area")[..., 0]
    return small / tf.maximum(tf.reduce_max(small), 1.0) * INK


def write_sample(pixels: np.ndarray, path: Path) -> None:
    """Write pixels [8, 8], 0 to 16, as a PNG of dark ink on white paper, enlarged to 160x160."""
    paper = tf.cast(255.0 - pixels[..., np.newaxis] * (255.0 / INK), tf.uint8)
    enlarged = tf.image.resize(paper, [160, 160], method="nearest")
    tf.io.write_file(str(path), tf.io.encode_png(tf.cast(enlarged, tf.uint8)))


def main() -> None:
    tf.keras.utils.set_random_seed(1)
    digits = load_digits()
    images = digits.images.astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.2, random_state=1, stratify=digits.target
    )
    module = Digits(train(train_x[..., np.newaxis], train_y))
    accuracy = np.mean(module.pixels(test_x)["digit"].numpy() == test_y)
    print(f"accuracy on {len(test_x)} digits that were held out: {accuracy:.4f}")
    target = HERE / "digits" / "1"
    shutil.rmtree(target, ignore_errors=True)
    options = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    signatures = {"serving_default": module.images, "pixels": module.pixels}
    tf.saved_model.save(module, str(target), signatures=signatures, options=options)
    seven = test_x[test_y == 7][0]
    write_sample(seven, HERE / "sample.png")
    answer = module.images(tf.constant([(HERE / "sample.png").read_bytes()]))
    print(f"sample.png is a {answer['digit'].numpy()[0]} with {answer['probabilities'].numpy().max():.4f}")


if __name__ == "__main__":
    main()
