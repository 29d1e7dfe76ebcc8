"""Which paths of TensorFlow Serving's REST API there are: whatever is asked, only planned ones reach a model server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_client import plan_of

from tfsd.errors import HttpError
from tfsd.worker.call import Found
from tfsd.worker.conversion.content_encoding import Inflater
from tfsd.worker.replies import Reply
from tfsd.worker.rest_api import RestApi
from tfsd.worker.targets import Targets
from tfsd.worker.upstream.client import ModelServers

NAMES = ("half_plus_three", "a b:c%/d", "größe")


class Port:
    port = 8501


@pytest.fixture(scope="module")
def targets() -> Targets:
    plan = plan_of(Port, names=NAMES)
    return Targets(plan, "mine", ModelServers(plan.models))


def find(targets: Targets, path: str, verb: str = "POST", **options: Any) -> Found | Reply:
    api = RestApi(targets, options.get("mode"), Inflater(1 << 20), options.get("multi_model", False))
    return api.find({"REQUEST_URI": path, "REQUEST_METHOD": verb})


PIECES = st.sampled_from(
    [
        *(
            "/v1/models",
            "/",
            ":",
            "..",
            "half_plus_three",
            "gr%C3%B6%C3%9fe",
            "/versions/",
            "3",
            "5",
            "/labels/",
        ),
        *(
            "x",
            "predict",
            "/metadata",
            "%2e%2e",
            "%2F",
            "?",
            "#",
            "%0d%0a",
            " ",
            "\r\n",
            "classify",
            "é",
            "\0",
        ),
    ]
)


@given(pieces=st.lists(PIECES, max_size=9), verb=st.sampled_from(["GET", "POST"]))
def test_only_what_is_planned_reaches_a_model_server(targets: Targets, pieces: list[str], verb: str) -> None:
    path = "/v1/models" + "".join(pieces)
    try:
        found = find(targets, path, verb)
    except HttpError as error:
        if error.status not in (400, 404, 405):
            raise
        return
    if isinstance(found, Reply):
        assert (found.status, path.partition("?")[0]) == (200, "/v1/models")
        return
    assert found.target.name in NAMES
    tail = found.target.model_path.removeprefix(f"/v1/models/{found.target.encoded_name}")
    assert tail in ("", "/versions/3", "/versions/5") or tail.startswith("/labels/")
    assert tail.count("/") in (0, 2)
    assert found.target.post_head.isascii()
    assert found.target.post_head.count(b"\r\n") == 3


def test_a_request_is_captured_as_the_invocation_that_it_is(targets: Targets) -> None:
    path = "/v1/models/half_plus_three/versions/3:regress"
    found = find(targets, path)
    assert isinstance(found, Found)
    wanted = "tfs-model-name=half_plus_three,tfs-model-version=3,tfs-method=regress"
    assert (found.attributes, found.target_model) == (wanted, None)
    found = find(targets, path, multi_model=True)
    assert isinstance(found, Found)
    assert (found.attributes, found.target_model) == (
        "tfs-model-version=3,tfs-method=regress",
        "half_plus_three",
    )


def test_names_are_decoded_once(targets: Targets) -> None:
    found = find(targets, "/v1/models/a%20b%3Ac%25%2Fd:predict")
    assert isinstance(found, Found)
    assert found.target.name == "a b:c%/d"
    assert found.target.model_path == "/v1/models/a%20b%3Ac%25%2Fd"


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/models/elsewhere", 400),
        ("POST", "/v1/models/half_plus_three", 405),
        ("HEAD", "/v1/models", 405),
        ("GET", "/v1/models/half_plus_three:predict", 405),
        ("GET", "/v1/models/half_plus_three/versions/99999999999999999999", 404),
        ("GET", "/v1/models/", 404),
    ],
)
def test_what_is_refused(targets: Targets, verb: str, path: str, status: int) -> None:
    with pytest.raises(HttpError) as refused:
        find(targets, path, verb)
    assert refused.value.status == status
