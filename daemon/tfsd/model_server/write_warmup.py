"""`python -m tfsd.model_server.write_warmup`: makes a version's warm-up requests of bodies of the REST API's :predict.

Reads the bodies from standard input, a JSON string a line; writes `assets.extra/tf_serving_warmup_requests` of the
version and prints a JSON object on what became of them. The model is loaded and each request is run: one that fails
would keep the version from being served.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfsd.model_server.codec.codec import decode_predict
from tfsd.model_server.errors import ServingError, invalid
from tfsd.model_server.metrics import Metrics
from tfsd.model_server.runtime import inference, tensors, tf
from tfsd.model_server.runtime.loader import Loader, LoadOptions
from tfsd.model_server.runtime.warmup import FILE, MAX_RECORDS
from tfsd.model_server.servable import Arrays, Servable

Key = tuple[str, tuple[tuple[str, tuple[int, ...]], ...], int]


class Recorder:
    """Collects warm-up requests for a servable: the different ones that ran, and further ones of each batch size.

    `sizes` are batch sizes in which every kind of request is to be there too; a kind is a signature with the shapes
    of its inputs but for their first dimension. No more than `limit` requests are kept, the batch sizes first.
    """

    def __init__(self, servable: Servable, sizes: Sequence[int], limit: int = MAX_RECORDS) -> None:
        self._servable = servable
        self._sizes = sizes
        self._limit = limit
        self._as_sent: dict[bytes, None] = {}
        self._sized: dict[Key, bytes] = {}
        self.refused = 0
        self.first_refusal = ""

    def add(self, body: bytes) -> None:
        """Take a :predict body; one that the model does not take is counted."""
        try:
            name, _, inputs = decode_predict(body, self._inputs)
            request = self._run(name or inference.DEFAULT_SIGNATURE, inputs)
        except ServingError as error:
            self.refused += 1
            self.first_refusal = self.first_refusal or error.message
            return
        self._as_sent[request] = None
        for size in self._sizes:
            self._resize(name or inference.DEFAULT_SIGNATURE, inputs, size)

    def requests(self) -> list[bytes]:
        """The serialized PredictRequests."""
        sized = list(dict.fromkeys(self._sized.values()))[: self._limit]
        others = [request for request in self._as_sent if request not in set(sized)]
        return sized + others[: self._limit - len(sized)]

    def _inputs(self, signature_name: str) -> Any:
        dtypes = self._servable.input_dtypes(signature_name or inference.DEFAULT_SIGNATURE)
        if dtypes is None:
            raise invalid(f'Serving signature name: "{signature_name}" not found in signature def')
        return dtypes

    def _resize(self, name: str, inputs: Arrays, size: int) -> None:
        """The same kind of request with so many rows, if the inputs have rows and it is not there yet."""
        rows = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        key = name, tuple((alias, array.shape[1:]) for alias, array in sorted(inputs.items())), size
        if (
            len(rows) != 1
            or not (count := rows.pop())
            or key in self._sized
            or len(self._sized) >= self._limit
        ):
            return
        resized = {alias: array[np.arange(size) % count] for alias, array in inputs.items()}
        try:
            self._sized[key] = self._run(name, resized)
        except ServingError:
            return  # its first dimension is no batch

    def _run(self, name: str, inputs: Arrays) -> bytes:
        """The request that these inputs are, when the model answers it. Raises ServingError."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._servable.name
        request.model_spec.signature_name = name
        dtypes = self._inputs(name)
        for alias, array in inputs.items():
            pieces = tensors.encode(np.asarray(array), True, dtypes[alias])
            request.inputs[alias].ParseFromString(b"".join(pieces))
        inference.predict(self._servable, request)
        serialized: bytes = request.SerializeToString(deterministic=True)
        return serialized


def write(path: Path, requests: Iterable[bytes]) -> None:
    """Replace a version's warm-up requests: PredictionLog records in TFRecord framing. Raises OSError."""
    file = path / FILE
    file.parent.mkdir(exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    with tf.TFRecordWriter(str(partial)) as writer:
        for request in requests:
            entry = prediction_log_pb2.PredictionLog()
            entry.predict_log.request.ParseFromString(request)
            writer.write(entry.SerializeToString())
    partial.replace(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 1 when the model does not load or the file cannot be written."""
    options = _parser().parse_args(arguments)
    try:
        loader = Loader(LoadOptions(warmup_iterations=0), Metrics())
        servable = loader(options.name, int(options.path.name), str(options.path))
        recorder = Recorder(servable, options.batch_sizes, options.limit)
        for body in _bodies():
            recorder.add(body)
        requests = recorder.requests()
        if requests:
            write(options.path, requests)
    except (ServingError, OSError, tf.errors.OpError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    document = {"written": len(requests), "refused": recorder.refused, "refusal": recorder.first_refusal}
    print(json.dumps(document), flush=True)
    return 0


def _bodies() -> Iterator[bytes]:
    for line in sys.stdin:
        yield json.loads(line).encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tfsd.model_server.write_warmup")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--path", type=Path, required=True, help="the directory of the version")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[], help="sizes that are to be there")
    parser.add_argument(
        "--limit", type=int, default=MAX_RECORDS, help="requests that are written at the most"
    )
    return parser


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # TensorFlow's threads need not be waited for
