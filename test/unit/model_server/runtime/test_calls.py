"""Calls go to the caller's own thread once they are known to be short, and come back from it when they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfsd.model_server.lead import Lead
from tfsd.model_server.runtime import calls
from tfsd.model_server.runtime.calls import Call, is_bounded

SMALL, LARGE = np.zeros(4, np.float32), np.zeros(1000, np.float32)


def ignored(microseconds: float) -> None:
    """How long a call took."""


class FakeSession:
    """Makes calls that say where they ran, and take as long as `clock` is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def _make_callable_from_options(self, options: Any) -> Any:
        where = "here" if options.run_options.inter_op_thread_pool == -1 else "threads"

        def call(*arrays: np.ndarray) -> list[str]:
            self.clock.now += self.clock.next_call
            self.clock.waited += self.clock.next_call if self.clock.waits else 0.0
            return [where, str(options.run_options.timeout_in_ms)]

        return call


class Clock:
    """Time that passes only in calls; the thread computes in it, or waits for a CPU."""

    now = waited = 0.0
    next_call = 10e-6
    waits = False
    asked = 0

    def perf_counter(self) -> float:
        return self.now

    def thread_time(self) -> float:
        self.asked += 1
        return self.now - self.waited


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(calls, "time", clock)
    return clock


def where(call: Call, *arrays: np.ndarray) -> str:
    lead = Lead()
    lead.take()
    found, timeout = call(arrays)
    assert timeout == ("500" if found == "threads" else "0")
    assert lead.mine == (found == "here")
    lead.leave()
    return found


def test_short_calls_stay_in_the_callers_thread(clock: Clock) -> None:
    call = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=True, ran=ignored)

    assert [where(call, SMALL), where(call, SMALL)] == ["threads", "here"]
    assert [where(call, LARGE), where(call, LARGE)] == ["threads", "here"]
    assert where(call, SMALL) == "here"


def test_calls_that_are_not_short_never_do(clock: Clock) -> None:
    clock.next_call = 1e-3
    call = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=True, ran=ignored)

    assert {where(call, SMALL) for _ in range(3)} == {"threads"}


def test_a_surprise_must_be_made_good_and_many_are_too_many(clock: Clock) -> None:
    call = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=True, ran=ignored)
    where(call, SMALL)
    for _ in range(calls.MAX_SURPRISES):
        clock.next_call = 1.0
        assert [where(call, SMALL), where(call, SMALL)] == ["here", "threads"]
        clock.next_call = 10e-6
        where(call, SMALL)

    assert where(call, SMALL) == "threads"


def test_a_call_that_waits_for_a_cpu_is_a_surprise_once_and_before_that_nobody_asks(clock: Clock) -> None:
    call = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=True, ran=ignored)
    assert [where(call, SMALL), where(call, SMALL)] == ["threads", "here"]
    assert clock.asked == 0
    clock.next_call, clock.waits = 1.0, True
    assert [where(call, SMALL), where(call, SMALL)] == ["here", "threads"]
    clock.next_call = 10e-6
    where(call, SMALL)
    clock.next_call = 1.0
    assert {where(call, SMALL) for _ in range(2 * calls.MAX_SURPRISES)} == {"here"}


def test_strings_and_graphs_without_a_bound_are_for_the_threads(clock: Clock) -> None:
    strings = np.array([b"a"], object)
    bounded = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=True, ran=ignored)
    unbounded = Call(FakeSession(clock), ["x"], ["y"], 500, bounded=False, ran=ignored)

    assert {where(bounded, strings) for _ in range(3)} == {"threads"}
    assert {where(unbounded, SMALL) for _ in range(3)} == {"threads"}


def test_what_has_no_bound() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def loop(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 100.0, lambda x: (x + 1.0,), (x,))[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def outer(x: tf.Tensor) -> tf.Tensor:
        return loop(x) * 2.0

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def plain(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) * 2.0

    assert not is_bounded(outer.get_concrete_function().graph.as_graph_def())
    assert is_bounded(plain.get_concrete_function().graph.as_graph_def())


def test_both_ways_compute_the_same() -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        tf.identity(x * 2.0, "y")
        call = Call(session, ["x:0"], ["y:0"], 1000, bounded=True, ran=ignored)
        assert {call([np.ones(1, np.float32)])[0].item() for _ in range(100)} == {2.0}
