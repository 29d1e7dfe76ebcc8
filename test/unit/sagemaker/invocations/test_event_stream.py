"""The encoding of streamed answers, decoded by botocore's own parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.eventstream import EventStream, EventStreamBuffer
from botocore.exceptions import EventStreamError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser
from hypothesis import given
from hypothesis import strategies as st

from tfsd.sagemaker.invocations import event_stream


class Wire:
    """A raw response as botocore reads it."""

    def __init__(self, messages: bytes) -> None:
        self._messages = messages

    def stream(self) -> Iterator[bytes]:
        for start in range(0, len(self._messages), 11):
            yield self._messages[start : start + 11]

    def close(self) -> None:
        pass


class Response:
    """A container's answer, whose body is `pieces`; what is an exception is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces, self.closed = pieces, False

    def chunks(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes], Iterator[Any]]:
    model = ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"), "sagemaker-runtime")
    operation = model.operation_model("InvokeEndpointWithResponseStream")
    shape = operation.get_event_stream_output()

    def decoded(messages: bytes) -> Iterator[Any]:
        return iter(EventStream(Wire(messages), shape, EventStreamJSONParser(), operation.name))

    return decoded


def test_each_piece_is_a_payload_part(decode: Callable[[bytes], Iterator[Any]]) -> None:
    response = Response(b"first", b"", b"second\n")
    messages = list(event_stream.payload_parts(response))  # type: ignore[arg-type]
    assert [event["PayloadPart"]["Bytes"] for event in decode(b"".join(messages))] == [b"first", b"second\n"]
    assert response.closed


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (TimeoutError(), "ModelStreamError", "within the time allowed"),
        (ConnectionError("reset"), "ModelStreamError", "closed: reset"),
        (RuntimeError("bug"), "InternalStreamFailure", "RuntimeError: bug"),
    ],
)
def test_a_broken_stream_is_an_exception_after_what_came(
    decode: Callable[[bytes], Iterator[Any]], failure: Exception, kind: str, text: str
) -> None:
    response = Response(b"first", failure)
    events = decode(b"".join(event_stream.payload_parts(response)))  # type: ignore[arg-type]
    assert next(events) == {"PayloadPart": {"Bytes": b"first"}}
    with pytest.raises(EventStreamError, match=text) as caught:
        next(events)
    assert caught.value.response["Error"]["Code"] == kind


def test_a_reader_that_goes_away_closes_the_container_s_answer() -> None:
    response = Response(b"first", b"second")
    messages = event_stream.payload_parts(response)  # type: ignore[arg-type]
    next(messages)
    messages.close()  # type: ignore[attr-defined]
    assert response.closed


@given(
    st.dictionaries(st.text("abc:-", min_size=1, max_size=20), st.text(max_size=40), max_size=5),
    st.binary(max_size=200),
)
def test_any_message(headers: dict[str, str], payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.message(headers, payload))
    (message,) = list(buffer)
    assert (message.headers, message.payload) == (headers, payload)
