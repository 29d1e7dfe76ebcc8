"""Reading a model server's answer about its model."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.control import ModelServerStub
from tfsd.control.health.model_status import NoStatusError, VersionStatus, parse, poll


def test_every_version_is_reported_with_its_error(model_server: ModelServerStub) -> None:
    model_server.states = {"1": "END", "2": "LOADING"}
    model_server.error_message = "no such op"

    assert poll("m", model_server.port, 5) == (
        VersionStatus("1", "END", "UNKNOWN: no such op"),
        VersionStatus("2", "LOADING", "UNKNOWN: no such op"),
    )


def test_a_model_name_is_one_segment_of_the_path(model_server: ModelServerStub) -> None:
    poll("a/b c:d?é", model_server.port, 5)

    assert model_server.paths == ["/v1/models/a%2Fb%20c%3Ad%3F%C3%A9"]


def test_the_model_servers_own_error_is_passed_on(model_server: ModelServerStub) -> None:
    model_server.status, model_server.error_message = 404, "Could not find any versions of model m"

    with pytest.raises(NoStatusError, match="404: Could not find any versions of model m"):
        poll("m", model_server.port, 5)


def test_a_closed_port_and_a_silent_server_give_no_status(model_server: ModelServerStub) -> None:
    model_server.released.clear()
    with pytest.raises(NoStatusError, match=f"port {model_server.port}.*timed out"):
        poll("m", model_server.port, 0.05)

    model_server.stop()
    with pytest.raises(NoStatusError, match=f"port {model_server.port}.*refused"):
        poll("m", model_server.port, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["model_version_status", "status", "version", "state", "error"]), inner
        )
    ),
)


@given(st.sampled_from([200, 404, 500]), st.binary() | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_answer_is_a_status_or_an_error_of_ours(status: int, body: bytes) -> None:
    with contextlib.suppress(NoStatusError):
        assert isinstance(parse(status, body), tuple)
