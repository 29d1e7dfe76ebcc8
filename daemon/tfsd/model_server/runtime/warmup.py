"""Replaying a model's warm-up requests (assets.extra/tf_serving_warmup_requests) after it was loaded."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from tensorflow_serving.apis import prediction_log_pb2

from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.runtime import inference, tf
from tfsd.model_server.runtime.session import serving_error
from tfsd.model_server.servable import Servable

log = logging.getLogger(__name__)

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(servable: Servable, path: str, iterations: int, rest_timeout_ms: int | None = None) -> None:
    """Replay each recorded `PredictionLog` so many times, and once more as the REST API will run it.

    TensorFlow prepares a call for each time limit anew, which is most of what a first request waits for.

    Raises ServingError: the file is bad or a request fails; the version is not served then, as in TensorFlow
        Serving.
    """
    file = f"{path}/{FILE}"
    if not tf.exists(file):
        return
    started = time.monotonic()
    count = 0
    try:
        for record in tf.tf_record_iterator(file):
            count += 1
            if count > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
            entry = _parse(record, file)
            for _ in range(iterations):
                _run(servable, entry)
            if rest_timeout_ms is not None and entry.WhichOneof("log_type") == "predict_log":
                with contextlib.suppress(ServingError):  # such as the limit: it was answered without
                    inference.predict(servable, entry.predict_log.request, rest_timeout_ms)
    except tf.errors.DataLossError as error:
        text = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(Code.DATA_LOSS, text) from None
    except tf.errors.OpError as error:
        raise serving_error(error) from None
    seconds = time.monotonic() - started
    log.info("Finished reading warmup data at %s: %d records in %.2f s", file, count, seconds)


def _parse(record: bytes, file: str) -> Any:
    entry = prediction_log_pb2.PredictionLog()
    try:
        entry.ParseFromString(record)
    except Exception:
        raise invalid(f"Failed to parse warmup record {record[:80]!r} from {file}") from None
    return entry


def _run(servable: Servable, entry: Any) -> None:
    kind = entry.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(servable, entry.predict_log.request)
    elif kind == "classify_log":
        request = entry.classify_log.request
        inference.classify(servable, request.model_spec.signature_name, inference.examples(request.input))
    elif kind == "regress_log":
        request = entry.regress_log.request
        inference.regress(servable, request.model_spec.signature_name, inference.examples(request.input))
    elif kind == "multi_inference_log":
        inference.multi_inference(servable, entry.multi_inference_log.request)
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
