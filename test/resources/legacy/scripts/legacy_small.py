"""The default output_fn, and an input_fn that any JSON suits."""

import json


def input_fn(serialized_input, content_type):
    return json.loads(serialized_input)["instances"]
