import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.capture_format import BadCapture, Body, Invocation, line, read

NOON = 1769860800.0  # 2026-01-31T12:00:00Z
TEXT_OR_NONE = st.none() | st.text(min_size=1, max_size=20)
BODIES = st.builds(
    Body,
    st.binary(max_size=50) | st.text(max_size=50).map(str.encode),
    st.none()
    | st.sampled_from(["text/csv", "application/json; charset=utf-8", "application/x-image", "a/b"]),
    st.none() | st.just("gzip"),
)


def test_a_line_has_the_names_and_encodings_of_data_capture() -> None:
    request = Body(b'{"instances": [1.0]}', "application/json")
    written = line(Invocation(request, Body(b"1.5\n", "text/csv"), "an-id", "tfs-method=predict"), NOON)
    document = json.loads(written)
    assert document["captureData"] == {
        "endpointInput": {
            "observedContentType": "application/json",
            "mode": "INPUT",
            "data": '{"instances": [1.0]}',
            "encoding": "JSON",
        },
        "endpointOutput": {
            "observedContentType": "text/csv",
            "mode": "OUTPUT",
            "data": "1.5\n",
            "encoding": "CSV",
        },
    }
    metadata = document["eventMetadata"]
    assert metadata.pop("eventId")
    assert metadata == {
        "inferenceId": "an-id",
        "inferenceTime": "2026-01-31T12:00:00Z",
        "customAttributes": ["tfs-method=predict"],
    }
    assert document["eventVersion"] == "0"
    assert "\n" not in written


@pytest.mark.parametrize(
    "body",
    [
        Body(b"\x89PNG", "application/x-image"),
        Body(b"\xff", "text/csv"),
        Body(b"{}", "application/json", "gzip"),
    ],
)
def test_what_is_no_text_is_base64(body: Body) -> None:
    side = json.loads(line(Invocation(body), NOON))["captureData"]["endpointInput"]
    assert side["encoding"] == "BASE64"


@given(st.builds(Invocation, BODIES, st.none() | BODIES, TEXT_OR_NONE, TEXT_OR_NONE, TEXT_OR_NONE))
def test_what_is_written_is_read(invocation: Invocation) -> None:
    assert read(line(invocation, NOON)) == invocation


@given(
    st.text(max_size=100)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["captureData", "eventMetadata", "endpointInput", "data", "encoding"]), inner
            )
        ),
    ).map(json.dumps)
)
def test_anything_else_is_a_bad_capture(text: str) -> None:
    with pytest.raises(BadCapture):
        read(text)
