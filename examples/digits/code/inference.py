"""Answer an image of a handwritten digit with the digit and the probability of each of the ten."""

import base64
import json


def input_handler(data, context):
    """The request that the model server gets: the image file itself, base64-encoded."""
    if context.request_content_type not in ("application/x-image", "image/png", "image/jpeg"):
        raise Refused(415, f"send a PNG or JPEG as application/x-image, not {context.request_content_type}")
    return json.dumps({"instances": [{"b64": base64.b64encode(data.read()).decode()}]})


def output_handler(response, context):
    """The answer to the client: {"digit": 7, "probabilities": [0.0, …]}."""
    if response.status_code != 200:
        raise Refused(response.status_code, response.json()["error"])
    return json.dumps(response.json()["predictions"][0]), "application/json"


class Refused(Exception):
    """An answer that is not 200: the endpoint takes the status from `status_code`."""

    def __init__(self, status_code, message):
        super().__init__(message)
        self.status_code = status_code
