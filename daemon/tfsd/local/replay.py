"""`bin/local replay`: sends captured requests again and compares the answers with those that were captured."""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import time
from collections.abc import Iterable, Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import quote

import requests
import urllib3

from tfsd.capture_format import Body, Invocation
from tfsd.errors import StartError
from tfsd.local.captures import invocations
from tfsd.local.comparison import diff, equal
from tfsd.words import counted

TIMEOUT_SECONDS = 120
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class ReplayError(StartError):
    """The endpoint cannot be reached; the text says where and why."""


@dataclasses.dataclass
class Tally:
    """How the answers were; `unknown` are those whose captured answer is missing, as that of a stream."""

    equal: int = 0
    different: int = 0
    unknown: int = 0
    first_difference: str = ""

    def __str__(self) -> str:
        sent = counted(self.equal + self.different + self.unknown, "request")
        unknown = f", {self.unknown} to be compared with none" if self.unknown else ""
        return f"{sent} sent; responses: {self.equal} equal, {self.different} different{unknown}"


def main(words: Sequence[str]) -> int:
    """The verb; returns 1 if any answer differs, or none was there to compare. Raises StartError, OSError."""
    options = _parser().parse_args(words)
    tally = replay(invocations(options.capture), options.url.rstrip("/"), options.rate, options.tolerance)
    if tally.first_difference:
        print(tally.first_difference)
    print(f"bin/local: {tally}.")
    return 0 if tally.equal and not tally.different else 1


def replay(captured: Iterable[Invocation], url: str, rate: float | None, tolerance: float) -> Tally:
    """Send each invocation to the endpoint at `url`, one after the other, at most `rate` a second.

    Raises ReplayError: no answer came.
    """
    tally = Tally()
    started = time.monotonic()
    with requests.Session() as session:
        # no response changes what is sent next
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for number, invocation in enumerate(captured):
            if rate is not None:
                time.sleep(max(0.0, started + number / rate - time.monotonic()))
            answer = _send(session, url, invocation)
            _count(tally, number + 1, invocation, answer, tolerance)
    return tally


def _send(session: requests.Session, url: str, invocation: Invocation) -> requests.Response | None:
    """The answer; None for one that is begun and not ended, as a stream that fails. Raises ReplayError."""
    if invocation.target_model is None:
        address = f"{url.removesuffix('/invocations')}/invocations"
    else:
        address = f"{url}/models/{quote(invocation.target_model, safe='')}/invoke"
    request, response = invocation.request, invocation.response
    headers = {
        "Content-Type": request.content_type,
        "Content-Encoding": request.encoding,
        "Accept": response.content_type if response else None,
        "Accept-Encoding": "identity",
        ATTRIBUTES: invocation.custom_attributes,
    }
    try:
        # a header of None is not sent, in place of requests' own
        return session.post(
            address, data=request.data, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        return None
    except (requests.RequestException, UnicodeError) as error:
        raise ReplayError(f"no response from {address}: {error}") from None


def _count(
    tally: Tally, number: int, invocation: Invocation, answer: requests.Response | None, tolerance: float
) -> None:
    expected = None if invocation.response is None else _decoded(invocation.response)
    if expected is None:
        tally.unknown += 1
    elif answer is not None and equal(expected, answer.content, tolerance):
        tally.equal += 1
    else:
        tally.different += 1
        if not tally.first_difference:
            name = f"request {number}" + (
                f", id {invocation.inference_id}" if invocation.inference_id else ""
            )
            if answer is None:
                tally.first_difference = f"{name}: the response cannot be read to its end"
            else:
                tally.first_difference = (
                    f"{name}, status {answer.status_code}:\n{diff(expected, answer.content)}"
                )


def _decoded(body: Body) -> bytes:
    """A captured body without its content encoding, as `requests` hands over the one that is answered."""
    if body.encoding is None:
        return body.data
    headers = {"Content-Encoding": body.encoding}
    try:
        return urllib3.HTTPResponse(io.BytesIO(body.data), headers).data
    except urllib3.exceptions.HTTPError:
        return body.data


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/local replay", description=__doc__)
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT") or "8080"
    parser.add_argument("capture", type=Path, help="a .jsonl file, or a directory with such files")
    parser.add_argument(
        "--url", default=f"http://127.0.0.1:{port}", help="the endpoint (default: %(default)s)"
    )
    parser.add_argument("--rate", type=_positive, help="requests a second (default: one after the other)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-5,
        help="relative difference that numbers in JSON may have (default: 1e-5)",
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a positive number")
    return value
