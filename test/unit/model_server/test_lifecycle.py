"""The states of versions, with loads that the test controls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.lifecycle import Lifecycle, State


class Loads:
    """Loads what may be loaded; paths that start with /bad fail, /slow wait for `go`, /stuck fail to close."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.tried: list[str] = []
        self.bad: str | None = "/bad"
        self.go = threading.Event()

    def __call__(self, name: str, version: int, path: str) -> Servable:
        self.tried.append(path)
        if path.startswith("/slow"):
            assert self.go.wait(30)
        if self.bad and path.startswith(self.bad):
            raise ServingError(Code.DATA_LOSS, f"Can't parse {path}")
        return Servable(self, path)


class Servable:
    def __init__(self, loads: Loads, path: str) -> None:
        self._loads = loads
        self._path = path

    def close(self) -> None:
        self._loads.closed.append(self._path)
        if self._path.startswith("/stuck"):
            raise RuntimeError("It cannot be closed")


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def make(loads: Loads) -> Iterator[Callable[..., Any]]:
    made = []

    def make(retries: int = 0, seconds: float = 0.01) -> Lifecycle:
        made.append(Lifecycle(loads, retries, seconds, 1))
        return made[-1]

    yield make
    loads.go.set()
    for one in made:
        one.close()


def states(lifecycle: Lifecycle) -> dict[int, State]:
    return {number: state for number, state, _ in lifecycle.states("m")}


def wait_for(condition: Callable[..., Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_model_becomes_available(make: Callable[..., Any]) -> None:
    lifecycle = make()
    assert lifecycle.acquire("m", None) is None
    lifecycle.aspire("m", {1: "/1", 2: "/2"})
    lifecycle.wait_available(["m"])
    assert states(lifecycle) == {2: State.AVAILABLE, 1: State.AVAILABLE}
    newest = lifecycle.acquire("m", None)
    assert newest is not None
    assert newest.number == 2
    assert lifecycle.acquire("m", 3) is None
    assert lifecycle.available() == {("m", 1), ("m", 2)}


def test_the_old_version_serves_until_the_new_one_can(make: Callable[..., Any], loads: Loads) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/1"})
    lifecycle.wait_available(["m"])
    lifecycle.aspire("m", {2: "/slow/2"})
    wait_for(lambda: "/slow/2" in loads.tried)
    assert states(lifecycle) == {2: State.LOADING, 1: State.AVAILABLE}
    loads.go.set()
    wait_for(lambda: states(lifecycle) == {2: State.AVAILABLE, 1: State.END})
    assert loads.closed == ["/1"]


def test_a_version_in_use_is_not_unloaded(make: Callable[..., Any], loads: Loads) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/1"})
    lifecycle.wait_available(["m"])
    used = lifecycle.acquire("m", 1)
    lifecycle.aspire("m", {})
    assert states(lifecycle) == {1: State.UNLOADING}
    assert lifecycle.acquire("m", 1) is None
    assert loads.closed == []
    lifecycle.release(used)
    wait_for(lambda: states(lifecycle) == {1: State.END})
    assert loads.closed == ["/1"]


def test_a_version_that_is_wanted_again_while_it_is_unloaded_is_loaded_again(
    make: Callable[..., Any], loads: Loads
) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/1"})
    lifecycle.wait_available(["m"])
    used = lifecycle.acquire("m", 1)
    lifecycle.aspire("m", {})
    lifecycle.aspire("m", {1: "/elsewhere/1"})
    assert states(lifecycle) == {1: State.UNLOADING}
    lifecycle.release(used)
    lifecycle.wait_available(["m"])
    assert states(lifecycle) == {1: State.AVAILABLE}
    assert loads.closed == ["/1"]
    assert loads.tried == ["/1", "/elsewhere/1"]


def test_a_failed_load_is_tried_so_often_and_then_stays_listed(
    make: Callable[..., Any], loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = make(retries=2)
    lifecycle.aspire("m", {1: "/bad"})
    with pytest.raises(ServingError) as failure:
        lifecycle.wait_available(["m"])
    assert failure.value.code is Code.UNKNOWN
    assert failure.value.message == (
        "1 servable(s) did not become available: {{{name: m version: 1} due to error: "
        "DATA_LOSS: Can't parse /bad}, }"
    )
    assert loads.tried == ["/bad"] * 3
    assert caplog.text.count("failed: DATA_LOSS: Can't parse /bad") == 3
    [(number, state, error)] = lifecycle.states("m")
    assert (number, state) == (1, State.END)
    assert error is not None
    assert error.code is Code.DATA_LOSS
    lifecycle.aspire("m", {1: "/bad"})
    assert len(loads.tried) == 3


def test_a_version_that_went_away_and_came_back_is_loaded_again(
    make: Callable[..., Any], loads: Loads
) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/bad"})
    wait_for(lambda: states(lifecycle) == {1: State.END})
    lifecycle.aspire("m", {})
    assert states(lifecycle) == {1: State.END}
    loads.bad = ""
    lifecycle.aspire("m", {1: "/bad"})
    lifecycle.wait_available(["m"])


def test_a_retry_succeeds_once_the_version_is_repaired(make: Callable[..., Any], loads: Loads) -> None:
    lifecycle = make(retries=1000)
    lifecycle.aspire("m", {1: "/bad"})
    wait_for(lambda: len(loads.tried) > 1)
    assert states(lifecycle) == {1: State.LOADING}
    loads.bad = ""
    lifecycle.wait_available(["m"])


def test_a_version_that_is_not_wanted_any_more_is_not_tried_again(
    make: Callable[..., Any], loads: Loads
) -> None:
    lifecycle = make(retries=1000, seconds=0.05)
    lifecycle.aspire("m", {1: "/bad"})
    wait_for(lambda: loads.tried)
    lifecycle.aspire("m", {})
    wait_for(lambda: states(lifecycle) == {1: State.END})


def test_a_bad_version_beside_a_good_one_does_not_hold_up_the_start(make: Callable[..., Any]) -> None:
    lifecycle = make(retries=5, seconds=60)
    lifecycle.aspire("m", {1: "/1", 2: "/bad"})
    lifecycle.wait_available(["m"])
    assert states(lifecycle) == {2: State.LOADING, 1: State.AVAILABLE}


def test_a_bad_version_beside_a_good_one_fails_the_wait_for_both(make: Callable[..., Any]) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/1", 2: "/bad/2", 3: "/bad/3"})
    wait_for(lambda: State.LOADING not in states(lifecycle).values())
    with pytest.raises(ServingError) as failure:
        lifecycle.wait_available(["m"], what="model(s)")
    assert failure.value.message == (
        "1 model(s) did not become available: {{{name: m version: 3} due to error: DATA_LOSS: Can't parse /bad/3}, }"
    )
    lifecycle.wait_tried(["m"])
    assert states(lifecycle) == {3: State.END, 2: State.END, 1: State.AVAILABLE}


def test_waiting_until_all_is_tried_takes_a_model_without_a_good_version(make: Callable[..., Any]) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/bad"})
    lifecycle.wait_tried(["m"])
    assert states(lifecycle) == {1: State.END}


def test_waiting_for_a_model_without_versions_can_be_given_up(make: Callable[..., Any]) -> None:
    lifecycle = make()
    with pytest.raises(ServingError) as failure:
        lifecycle.wait_available(["m"], cancelled=lambda: True)
    assert failure.value.code is Code.CANCELLED


def test_an_unexpected_exception_is_a_failed_load(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, loads: Loads
) -> None:
    loads.bad = None
    lifecycle = make()
    lifecycle.aspire("m", {1: None})
    wait_for(lambda: states(lifecycle) == {1: State.END})
    assert lifecycle.states("m")[0][2].code is Code.INTERNAL


def test_a_version_that_cannot_be_closed_has_ended_all_the_same(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = make()
    lifecycle.aspire("m", {1: "/stuck/1"})
    lifecycle.wait_available(["m"])
    lifecycle.aspire("m", {2: "/2"})
    wait_for(lambda: states(lifecycle) == {1: State.END, 2: State.AVAILABLE})
    assert "It cannot be closed" in caplog.text
