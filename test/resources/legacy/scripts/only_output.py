"""The default input_fn; the answer says what it was called with."""

import json

from google.protobuf import json_format


def output_fn(prediction_result, accepts):
    result = json_format.MessageToDict(prediction_result)
    return json.dumps({"kind": type(prediction_result).__name__, "accepts": accepts, **result})
