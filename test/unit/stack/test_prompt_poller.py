from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from supervisor import poller

from tfsd.stack.prompt_poller import ASK_SECONDS, PatientResponse, PromptPoller

FOR_EVER = 3600.0


class Options:
    """supervisor's, as far as a poller uses them."""

    def __init__(self) -> None:
        self.sockets: dict[int, object] = {}

    def get_socket_map(self) -> dict[int, object]:
        return self.sockets


@pytest.fixture
def options() -> Options:
    return Options()


@pytest.fixture
def prompt(options: Options) -> Iterator[PromptPoller]:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    made = PromptPoller(options)
    yield made
    made.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each poll would wait, in seconds. None does."""
    seen: list[float] = []
    poll = poller.Poller.poll

    def noted(self: poller.BasePoller, timeout: float) -> object:
        seen.append(timeout)
        return poll(self, 0)

    monkeypatch.setattr(poller.Poller, "poll", noted)
    return seen


def test_a_signal_ends_the_wait_and_the_next_one(prompt: PromptPoller) -> None:
    prompt.poll(0)
    signal.raise_signal(signal.SIGUSR1)
    assert prompt.poll(FOR_EVER) == ([], [])
    assert prompt.poll(FOR_EVER) == ([], [])


def test_many_signals_are_one(prompt: PromptPoller, timeouts: list[float]) -> None:
    prompt.poll(0)
    for _ in range(100):
        signal.raise_signal(signal.SIGUSR1)
    for _ in range(3):
        prompt.poll(1)
    assert timeouts[-3:] == [1, 0, 1]


def test_what_can_be_read_is_said_beside_a_signal(prompt: PromptPoller) -> None:
    readable, writable = os.pipe()
    try:
        prompt.poll(0)
        prompt.register_readable(readable)
        os.write(writable, b"x")
        signal.raise_signal(signal.SIGUSR1)
        assert prompt.poll(FOR_EVER) == ([readable], [])
    finally:
        os.close(readable)
        os.close(writable)


def test_while_a_client_waits_it_is_asked_for_ever_and_again(
    prompt: PromptPoller, options: Options, timeouts: list[float]
) -> None:
    prompt.poll(1)
    options.sockets = {7: SimpleNamespace(), 8: SimpleNamespace(delay=0.2)}
    prompt.poll(1)
    options.sockets[8] = SimpleNamespace(delay=False)
    prompt.poll(1)
    assert timeouts == [1, ASK_SECONDS, 1]


@pytest.mark.parametrize(("delay", "expected"), [(0, ASK_SECONDS), (0.2, 0.2)])
def test_there_is_a_pause_between_two_questions(delay: float, expected: float) -> None:
    callback = SimpleNamespace(delay=delay)
    assert PatientResponse(SimpleNamespace(), callback).delay == expected
