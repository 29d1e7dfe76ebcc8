#!/usr/bin/env python3
"""Make the example's two models: one counts the words of a text, the other says how friendly the counts are.

    ./bin/local exec python examples/pipeline/train.py

Data: the sentences below. Writes the SavedModels `words/1` and `mood/1` beside this file.

Signatures:
  words  text: string [n]             ->  counts: float [n, 512], of words by their hash
  mood   counts: float [n, 512]       ->  friendly: float [n], 0 to 1
"""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

HERE = Path(__file__).parent
BUCKETS = 512
FRIENDLY = [
    "thank you so much",
    "this is great work",
    "a lovely day with kind people",
    "i love how quick it is",
    "good and helpful answer",
    "what a nice surprise",
    "wonderful service and a warm welcome",
    "happy to help again",
]
UNFRIENDLY = [
    "this is terrible work",
    "i hate how slow it is",
    "a horrible day with rude people",
    "bad and useless answer",
    "what an awful mess",
    "the service was cold and slow",
    "never again this broken thing",
    "angry and disappointed",
]


class Words(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def predict(self, text):
        words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(text), "[^a-z ]", " "))
        hashes = tf.strings.to_hash_bucket_fast(words.flat_values, BUCKETS)
        counts = tf.math.unsorted_segment_sum(
            tf.one_hot(hashes, BUCKETS), words.value_rowids(), words.nrows()
        )
        return {"counts": counts}


class Mood(tf.Module):
    def __init__(self) -> None:
        self.weights = tf.Variable(tf.zeros([BUCKETS]))
        self.bias = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, BUCKETS], tf.float32, name="counts")])
    def predict(self, counts):
        return {"friendly": tf.sigmoid(tf.linalg.matvec(counts, self.weights) + self.bias)}


def main() -> None:
    words, mood = Words(), Mood()
    counts = words.predict(tf.constant(FRIENDLY + UNFRIENDLY))["counts"]
    wanted = tf.constant([1.0] * len(FRIENDLY) + [0.0] * len(UNFRIENDLY))
    optimizer = tf.keras.optimizers.Adam(0.1)
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.keras.losses.binary_crossentropy(wanted, mood.predict(counts)["friendly"])
            )
        variables = mood.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    print(f"loss {loss:.3f}")
    for name, model in (("words", words), ("mood", mood)):
        shutil.rmtree(HERE / name, ignore_errors=True)
        tf.saved_model.save(model, str(HERE / name / "1"), signatures=model.predict)


if __name__ == "__main__":
    main()
