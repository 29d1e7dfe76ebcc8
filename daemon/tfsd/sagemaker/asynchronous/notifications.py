"""What SNS is told of an asynchronous inference: the messages, in SageMaker's form, and their way to moto's topics."""

from __future__ import annotations

import base64
import datetime
import json
import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

MAX_RESPONSE_BYTES = 128 * 1024  # of IncludeInferenceResponseIn


class Topics:
    """`backends` is moto's SNS, by account, then region."""

    def __init__(self, backends: Any, account: str) -> None:
        self._backends, self._account = backends, account

    def publish(self, arn: str, message: Mapping[str, Any]) -> None:
        """Publish to a topic, which may be of any region; one that does not exist is logged."""
        region = arn.split(":")[3]
        topic = self._backends[self._account][region].topics.get(arn)
        if topic is None:
            log.error("The topic %s does not exist: nobody hears of %s.", arn, message.get("inferenceId"))
            return
        try:
            topic.publish(json.dumps(message))
        except Exception as error:  # a subscriber of any kind, which is none of the inference's business
            log.error("A subscriber of %s cannot be told: %s", arn, error)


def result_message(
    *,
    region: str,
    inference_id: str,
    received: float,
    now: float,
    request: Mapping[str, str | None],
    response: Mapping[str, Any] | None,
    failure: str | None,
) -> dict[str, Any]:
    """The message for an inference that has completed, or has failed with a reason.

    `request` and `response` are requestParameters and responseParameters; what is None in them is left out.
    """
    message: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _moment(now),
        "receivedTime": _moment(received),
        "invocationStatus": "Completed" if failure is None else "Failed",
        "failureReason": failure,
        "requestParameters": {name: value for name, value in request.items() if value is not None},
        "responseParameters": None
        if response is None
        else {name: value for name, value in response.items() if value is not None},
        "inferenceId": inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    return {name: value for name, value in message.items() if value is not None}


def response_body(body: bytes) -> dict[str, str] | None:
    """The answer itself, for topics of IncludeInferenceResponseIn; None if it is too large."""
    if len(body) > MAX_RESPONSE_BYTES:
        return None
    try:
        return {"content": body.decode(), "encoding": "UTF-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(body).decode(), "encoding": "BASE64"}


def _moment(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
