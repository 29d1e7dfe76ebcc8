"""Which candidates of batching are worth a measurement, for models whose costs are known."""

from __future__ import annotations

import dataclasses

import pytest

from tfsd.tuner.candidate import Batching
from tfsd.tuner.goal import Goal
from tfsd.tuner.prediction import BEST_KEPT, Prediction, Predictor
from unit.tuner.simulated import DEFAULT, Machine

GOAL = Goal(0.99, 0.2)
CPUS = 2


def predictor(machine: Machine, cpus: int = CPUS) -> Predictor:
    return Predictor(machine.curve(), GOAL, cpus)


def batchings(predictions: list[Prediction]) -> list[Batching]:
    found = [one.candidate.batching for one in predictions]
    assert None not in found
    return [one for one in found if one is not None]


def test_a_device_that_takes_one_call_at_a_time_is_tried_with_a_thread_that_collects_the_next_batch() -> None:
    """That thread waits for as long as a call takes, or it would close its batch before the device is free."""
    found = batchings(predictor(Machine(0.02, 0.0)).batching(DEFAULT))
    ways = {(one.threads, one.timeout_micros) for one in found}
    assert {(1, 0), (2, 20_000), (2, 0)} <= ways
    assert len(ways) == len(found) <= BEST_KEPT


@pytest.mark.parametrize(("parallelism", "cpus"), [(1.0, 2), (1.9, 2), (3.8, 4), (1.0, 8)])
def test_candidates_form_batches_in_different_ways(parallelism: float, cpus: int) -> None:
    found = batchings(predictor(Machine(0.02, 0.001, parallelism), cpus).batching(DEFAULT))
    assert 2 <= len(found) <= BEST_KEPT
    assert len({(one.threads, one.timeout_micros > 0) for one in found}) == len(found)
    assert round(parallelism) in {one.threads for one in found}
    assert cpus in {one.threads for one in found}


@pytest.mark.parametrize(("a", "b"), [(0.02, 0.0), (0.016, 0.002), (0.05, 0.0005), (0.004, 0.001)])
@pytest.mark.parametrize("parallelism", [1.0, 2.0])
def test_the_best_candidate_is_predicted_as_high_as_the_best_of_a_grid(
    a: float, b: float, parallelism: float
) -> None:
    asked = predictor(Machine(a, b, parallelism))
    grid = [
        asked.rate(DEFAULT.with_batching(Batching(size, micros, threads, 1000))) or 0.0
        for size in (2, 8, 32, 64, 128)
        if a + b * size <= GOAL.seconds
        for micros in (0, 2000, 20_000)
        for threads in (1, 2)
    ]
    assert (asked.batching(DEFAULT)[0].rate or 0.0) >= 0.95 * max(grid)


def test_a_batch_alone_never_breaks_the_goal() -> None:
    found = batchings(predictor(Machine(0.05, 0.01)).batching(DEFAULT))
    assert found
    assert all(0.05 + 0.01 * one.max_batch_size <= GOAL.seconds for one in found)


def test_where_batching_saves_nothing_nothing_is_tried() -> None:
    assert predictor(Machine(0.0, 0.02)).batching(DEFAULT) == []


def test_a_measured_rate_shows_what_requests_cost_beside_their_calls() -> None:
    asked = predictor(Machine(0.02, 0.0))
    first = asked.batching(DEFAULT)[0]
    assert first.rate is not None
    assert first.rate > 2500
    assert asked.learn(first.candidate, 1400)
    assert asked.rate(first.candidate) == pytest.approx(1400, rel=0.08)
    assert {one.max_batch_size for one in batchings(asked.batching(DEFAULT))} == {32}
    # larger batches would never be full


def test_a_rate_that_is_as_predicted_teaches_nothing() -> None:
    asked = predictor(Machine(0.016, 0.002))
    first = asked.batching(DEFAULT)[0]
    assert first.rate is not None
    assert not asked.learn(first.candidate, 0.95 * first.rate)
    assert asked.batching(DEFAULT)[0] == first


def test_of_what_serves_alike_the_one_with_fewer_requests_under_way_comes_first() -> None:
    """A second thread that does not wait closes batches early, which then wait for the device."""
    found = batchings(predictor(Machine(0.02, 0.0, intake=0.001)).batching(DEFAULT))
    ways = [(one.threads, one.timeout_micros > 0) for one in found]
    assert ways.index((1, False)) < ways.index((2, False))
    assert ways.index((2, True)) < ways.index((2, False))


def test_neighbours_differ_in_one_parameter() -> None:
    base = DEFAULT.with_batching(Batching(16, 0, 1, 100))
    found = batchings(list(predictor(Machine(0.02, 0.0005)).neighbours(base)))
    assert {one.max_batch_size for one in found} == {8, 16, 32}
    assert {one.threads for one in found} >= {1, 2}
    for one in found:
        changed = (one.max_batch_size != 16, one.timeout_micros != 0, one.threads != 1)
        assert sum(changed) == 1


def test_where_odd_sizes_cost_more_batches_are_padded_to_powers_of_two() -> None:
    even = Machine(0.02, 0.0005)
    costs = even.costs
    uneven = Machine(0.02, 0.0005)
    uneven.costs = dataclasses.replace(
        costs, seconds=lambda size: costs.seconds(size) + 0.02 * bool(size & (size - 1))
    )
    base = DEFAULT.with_batching(Batching(8, 0, 1, 100))
    padded = {one.allowed for one in batchings(list(predictor(uneven).neighbours(base)))}
    assert padded == {(), (1, 2, 4, 8)}
    assert {one.allowed for one in batchings(list(predictor(even).neighbours(base)))} == {()}


def test_queues_hold_what_may_wait_under_the_goal() -> None:
    for prediction in predictor(Machine(0.02, 0.0005)).batching(DEFAULT):
        batching = prediction.candidate.batching
        assert batching is not None
        assert prediction.rate is not None
        assert batching.enqueued * batching.max_batch_size >= prediction.rate * GOAL.seconds


def test_all_else_is_model_servers_pools_and_with_user_code_workers() -> None:
    def changed(has_code: bool) -> list[dict[str, str]]:
        found = predictor(Machine(0.02, 0.0)).others(DEFAULT, has_code)
        return [one.candidate.changes(DEFAULT) for one in found]

    server = [
        {"SAGEMAKER_TFS_INSTANCE_COUNT": "2"},
        {"SAGEMAKER_TFS_INTRA_OP_PARALLELISM": "1"},
        {"SAGEMAKER_TFS_INTER_OP_PARALLELISM": "2"},
    ]
    workers = [{"SAGEMAKER_MODEL_SERVER_WORKERS": "4"}, {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}]
    assert changed(False) == server
    assert changed(True) == server + workers


def test_without_a_curve_every_way_is_tried() -> None:
    found = Predictor(None, GOAL, CPUS).batching(DEFAULT)
    assert len(found) == BEST_KEPT - 1
    assert {one.rate for one in found} == {None}
