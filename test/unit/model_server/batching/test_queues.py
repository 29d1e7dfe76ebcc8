"""Batching with runs that the test controls: what is put together, and who gets what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsd.model_server.batching.parameters import BatchParameters
from tfsd.model_server.batching.queues import BatchQueue, BatchThreads
from tfsd.model_server.errors import Code, ServingError, invalid
from tfsd.model_server.metrics import Metrics


class Model:
    """Doubles x, remembers the batches; can be held, and refuses negative numbers."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.batches.append(inputs["x"])
        self.started.release()
        assert self.go.wait(30)
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        return {"y": inputs["x"] * 2, "rows": np.arange(len(inputs["x"]))}


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make_queue(model: Model, metrics: Metrics) -> Iterator[Callable[..., Any]]:
    threads = []

    def make(run: Callable[..., Any] = model, **parameters: Any) -> BatchQueue:
        threads.append(BatchThreads(parameters.get("num_batch_threads", 1)))
        return BatchQueue(threads[-1], BatchParameters(**parameters), run, metrics)

    yield make
    model.go.set()
    for one in threads:
        one.close()


def ask(queue: BatchQueue, *values: Any, timeout_ms: int | None = None) -> list[Any] | None:
    return queue.run({"x": np.array(values, np.float32)}, timeout_ms)["y"].tolist()


def queued(queue: BatchQueue) -> int:
    return sum(len(batch.tasks) for batch in queue.batches)


def wait_until_queued(queue: BatchQueue, count: int, answer: Any = None) -> None:
    deadline = time.monotonic() + 30
    while queued(queue) < count and not (answer and answer.done()):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def hold_and_ask(model: Model, queue: BatchQueue, requests: list[Any]) -> list[Any]:
    """Ask while the only thread is busy with another request, so that all of them wait together."""
    model.go.clear()
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        busy = pool.submit(ask, queue, 100)
        assert model.started.acquire(timeout=30)
        answers = []
        for count, request in enumerate(requests, 1):
            answers.append(pool.submit(ask, queue, *request))
            wait_until_queued(queue, count, answers[-1])
        model.go.set()
        assert busy.result() == [200]
        return answers


def test_waiting_requests_run_as_one_batch_and_each_gets_its_rows(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue()
    answers = hold_and_ask(model, queue, [[1], [2, 3], [4]])
    assert [answer.result() for answer in answers] == [[2], [4, 6], [8]]
    assert [batch.tolist() for batch in model.batches] == [[100], [1, 2, 3, 4]]


def test_a_batch_is_not_larger_than_allowed(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(max_batch_size=3)
    answers = hold_and_ask(model, queue, [[1, 2], [3, 4], [5]])
    assert [answer.result() for answer in answers] == [[2, 4], [6, 8], [10]]
    assert [batch.tolist() for batch in model.batches[1:]] == [[1, 2], [3, 4, 5]]


def test_padding_repeats_the_first_row_of_the_last_request(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    answers = hold_and_ask(model, queue, [[1], [2, 3], [4, 5]])
    assert [answer.result() for answer in answers] == [[2], [4, 6], [8, 10]]
    assert [batch.tolist() for batch in model.batches] == [[100, 100], [1, 2, 3, 4, 5, 4, 4, 4]]


def test_one_bad_request_does_not_fail_the_others(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue()
    good, bad, other = hold_and_ask(model, queue, [[1], [-1], [3]])
    assert good.result() == [2]
    assert other.result() == [6]
    with pytest.raises(ServingError, match="negative"):
        bad.result()


def test_large_requests_are_cut_so_that_batches_are_full(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue(max_batch_size=9, enable_large_batch_splitting=True, max_execution_batch_size=4)
    answers = hold_and_ask(model, queue, [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11]])
    assert [answer.result() for answer in answers] == [[2, 4, 6], [8, 10, 12, 14, 16, 18, 20], [22]]
    assert [batch.tolist() for batch in model.batches[1:]] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]


def test_without_a_size_of_its_own_a_batch_is_as_large_as_a_request_may_be(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue(max_batch_size=2, enable_large_batch_splitting=True)
    answers = hold_and_ask(model, queue, [[1], [2, 3]])
    assert [answer.result() for answer in answers] == [[2], [4, 6]]
    assert [batch.tolist() for batch in model.batches[1:]] == [[1, 2], [3]]
    with pytest.raises(ServingError, match="Task size 3 is larger than maximum input batch size 2"):
        ask(queue, 1, 2, 3)


def test_the_pieces_of_a_request_are_padded_and_counted_against_the_queue(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue(
        max_batch_size=8,
        enable_large_batch_splitting=True,
        max_execution_batch_size=2,
        allowed_batch_sizes=(2, 8),
        max_enqueued_batches=2,
    )
    three, five = hold_and_ask(model, queue, [[1, 2, 3], [4, 5, 6, 7, 8]])
    assert three.result() == [2, 4, 6]
    with pytest.raises(ServingError, match="currently 2 batches enqueued and max_enqueued_batches is 2"):
        five.result()
    assert [batch.tolist() for batch in model.batches[1:]] == [[1, 2], [3, 3]]


def test_a_request_of_which_one_piece_fails_fails(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=2)
    bad, good = hold_and_ask(model, queue, [[1, 2, -1], [4]])
    with pytest.raises(ServingError, match="negative"):
        bad.result()
    assert good.result() == [8]


def test_what_a_batch_is_counted_as(model: Model, make_queue: Callable[..., Any], metrics: Metrics) -> None:
    queue = make_queue(max_batch_size=8, allowed_batch_sizes=(4, 8))
    for answer in hold_and_ask(model, queue, [[1], [2, 3]]):
        answer.result()
    page = metrics.render()
    family = ":tensorflow:serving:batching_session:"
    assert f"{family}wrapped_run_count 2" in page
    assert f'{family}queuing_latency_count{{thread_pool_name=""}} 3' in page
    assert f'{family}padding_size_sum{{execution_batch_size="4"}} 4.0' in page
    assert f'{family}processed_batch_size_bucket{{le="4"}} 2' in page
    assert f"{family}input_batch_size_sum 4.0" in page


def test_a_full_queue_is_unavailable(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(max_batch_size=2, max_enqueued_batches=1)
    with pytest.raises(ServingError) as refusal:
        hold_and_ask(model, queue, [[1], [2, 3]])[1].result()
    assert refusal.value.code is Code.UNAVAILABLE
    assert refusal.value.message == (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 1 batches enqueued and max_enqueued_batches is 1"
    )


def test_a_lone_request_waits_for_others_only_until_the_timeout(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    assert ask(make_queue(batch_timeout_micros=10_000), 1) == [2]


def test_a_full_batch_does_not_wait_for_the_timeout(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(max_batch_size=2, batch_timeout_micros=10**12)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, queue, value) for value in (1, 2)]
        assert [answer.result(30) for answer in answers] == [[2], [4]]
    assert len(model.batches) == 1


def test_a_batch_that_waits_is_closed_by_the_next_one(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(max_batch_size=2, batch_timeout_micros=10**12)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, queue, 1)
        wait_until_queued(queue, 1)
        second = pool.submit(ask, queue, 2, 3)
        assert second.result(30) == [4, 6]
        assert first.result(30) == [2]


def test_an_empty_request_is_answered(model: Model, make_queue: Callable[..., Any]) -> None:
    assert ask(make_queue(batch_timeout_micros=10**12)) == []


def test_a_request_that_waits_too_long_is_told(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue(batch_timeout_micros=10**12)
    with pytest.raises(ServingError) as failure:
        ask(queue, 1, timeout_ms=10)
    assert failure.value.code is Code.DEADLINE_EXCEEDED
    assert failure.value.message == "Timed out waiting for notification"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"x": np.zeros(2), "z": np.zeros(3)},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ({"x": np.zeros(5)}, "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_inputs_that_cannot_be_batched(
    make_queue: Callable[..., Any], inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServingError) as refusal:
        make_queue(max_batch_size=4).run({key: np.asarray(value) for key, value in inputs.items()})
    assert refusal.value.code is Code.INVALID_ARGUMENT
    assert refusal.value.message == message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.float32(1), "Batched output tensor has 0 dimensions"),
        (
            np.zeros(3),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
            "input tensors",
        ),
    ],
)
def test_outputs_that_are_not_a_row_for_each_row(
    make_queue: Callable[..., Any], output: Any, message: str
) -> None:
    with pytest.raises(ServingError) as failure:
        ask(make_queue(run=lambda inputs: {"y": np.asarray(output)}), 1, 2)
    assert failure.value.message == message


def test_requests_of_other_shapes_run_apart(model: Model, make_queue: Callable[..., Any]) -> None:
    queue = make_queue()
    answers = hold_and_ask(model, queue, [[[1, 2]], [[3, 4, 5]], [[6, 7]]])
    assert [answer.result() for answer in answers] == [[[2, 4]], [[6, 8, 10]], [[12, 14]]]
    assert [len(batch) for batch in model.batches] == [1, 2, 1]


def test_variable_length_inputs_are_padded_with_their_first_value(
    model: Model, make_queue: Callable[..., Any]
) -> None:
    queue = make_queue(pad_variable_length_inputs=True)
    answers = hold_and_ask(model, queue, [[[1, 2]], [[3, 4, 5]]])
    assert [answer.result() for answer in answers] == [[[2, 4, 2]], [[6, 8, 10]]]


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=4), min_size=1, max_size=20),
    st.integers(4, 16),
    st.integers(1, 3),
    st.sampled_from([0, 200]),
    st.integers(0, 4),
)
def test_any_mix_of_requests_is_answered_rightly(
    requests: list[Any], size: int, thread_count: int, timeout: int, split_at: int
) -> None:
    threads = BatchThreads(thread_count)
    queue = BatchQueue(
        threads,
        BatchParameters(
            max_batch_size=size,
            max_enqueued_batches=100,
            batch_timeout_micros=timeout,
            enable_large_batch_splitting=bool(split_at),
            max_execution_batch_size=split_at,
        ),
        model := Model(),
        Metrics(),
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: ask(queue, *request), requests))
    threads.close()
    assert answers == [[2 * value for value in request] for request in requests]
    assert max(map(len, model.batches)) <= (split_at or size)


def test_parameters_are_checked() -> None:
    BatchParameters(max_batch_size=8, allowed_batch_sizes=(2, 8)).check()
    with pytest.raises(ServingError, match="last entry was 4; expected 8"):
        BatchParameters(max_batch_size=8, allowed_batch_sizes=(2, 4)).check()
    with pytest.raises(ServingError, match="monotonically increasing"):
        BatchParameters(max_batch_size=8, allowed_batch_sizes=(4, 2, 8)).check()
    with pytest.raises(ServingError, match="max_enqueued_batches must be positive"):
        BatchParameters(max_enqueued_batches=0).check()
    with pytest.raises(ServingError, match="no larger than max_batch_size, 8; was 9"):
        BatchParameters(8, enable_large_batch_splitting=True, max_execution_batch_size=9).check()
    BatchParameters(
        8, max_execution_batch_size=9
    ).check()  # heeded with splitting only, as in the real server
