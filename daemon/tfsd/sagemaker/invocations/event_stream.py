"""`application/vnd.amazon.eventstream`: how AWS frames a streamed answer, and the events of a response stream.

A message is: total length, length of the headers, CRC-32 of both, headers, payload, CRC-32 of all of it; numbers are
big-endian, header values strings here. The events are those of botocore's shape ResponseStream.
"""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping

from tfsd.sagemaker.instances.instance import Response

MAX_PART_BYTES = 1 << 20  # far below what a message may hold
STRING = 7  # the type of a header's value

log = logging.getLogger(__name__)


def payload_parts(response: Response) -> Iterator[bytes]:
    """The messages for a container's answer: a PayloadPart for each piece as it comes, and an exception if it breaks.

    Closes the response, also when nobody reads it to its end.
    """
    try:
        for chunk in response.chunks():
            for start in range(0, len(chunk), MAX_PART_BYTES):
                yield payload_part(chunk[start : start + MAX_PART_BYTES])
    except TimeoutError:
        text = "The model did not finish sending its response within the time allowed."
        yield model_stream_error("ModelInvocationTimeExceeded", text)
    except OSError as error:
        yield model_stream_error("StreamBroken", f"The connection to the model was closed: {error}.")
    except Exception as error:
        log.exception("A response stream failed: a defect of local SageMaker.")
        yield internal_stream_failure(f"{type(error).__name__}: {error}")
    finally:
        response.close()


def payload_part(data: bytes) -> bytes:
    """One event with a piece of the answer."""
    headers = {
        ":message-type": "event",
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
    }
    return message(headers, data)


def model_stream_error(code: str, text: str) -> bytes:
    """`code` is ModelInvocationTimeExceeded or StreamBroken."""
    return _exception("ModelStreamError", {"Message": text, "ErrorCode": code})


def internal_stream_failure(text: str) -> bytes:
    return _exception("InternalStreamFailure", {"Message": text})


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of the encoding."""
    encoded = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", STRING, len(value)) + value
        for name, value in ((name.encode(), value.encode()) for name, value in headers.items())
    )
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    begin = prelude + struct.pack("!I", zlib.crc32(prelude)) + encoded + payload
    return begin + struct.pack("!I", zlib.crc32(begin))


def _exception(kind: str, members: Mapping[str, str]) -> bytes:
    headers = {
        ":message-type": "exception",
        ":exception-type": kind,
        ":content-type": "application/json",
    }
    return message(headers, json.dumps(members).encode())
