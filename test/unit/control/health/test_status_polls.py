"""Which requests a model server counts are control's own polls."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from support.control import ModelServerStub
from tfsd.control.health.model_status import NoStatusError
from tfsd.control.health.status_polls import StatusPolls
from tfsd.plan import ModelServer


def poll(polls: StatusPolls, stub: ModelServerStub, times: int = 1) -> None:
    for _ in range(times):
        polls.poll("m", ModelServer("model-m", stub.port, 0), 20)


@pytest.fixture
def another_pid() -> Iterator[int]:
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process.pid
        process.kill()


def test_polls_are_taken_out_and_never_more_than_was_counted(model_server: ModelServerStub) -> None:
    polls = StatusPolls({"model-m": os.getpid()}.get)
    poll(polls, model_server, 3)

    assert polls.others("model-m", "m", "OK", 5) == 2
    assert polls.others("model-m", "n", "OK", 5) == 5
    assert polls.others("model-m", "m", "INTERNAL", 1) == 1
    assert polls.others("model-m", "m", "OK", 1) == 2  # a counter never goes back
    assert StatusPolls(lambda program: None).others("model-m", "m", "OK", 0) == 0


def test_a_refusal_counts_under_its_status_and_silence_does_not(model_server: ModelServerStub) -> None:
    polls = StatusPolls({"model-m": os.getpid()}.get)
    model_server.status = 404
    with pytest.raises(NoStatusError):
        poll(polls, model_server)
    model_server.stop()
    with pytest.raises(NoStatusError):
        poll(polls, model_server)

    assert polls.others("model-m", "m", "NOT_FOUND", 5) == 4
    assert polls.others("model-m", "m", "OK", 5) == 5


def test_a_model_server_s_next_process_counts_anew(model_server: ModelServerStub, another_pid: int) -> None:
    pids = {"model-m": os.getpid()}
    polls = StatusPolls(pids.get)
    poll(polls, model_server, 3)
    pids["model-m"] = another_pid
    poll(polls, model_server)

    assert polls.others("model-m", "m", "OK", 5) == 4


def test_polls_that_come_before_supervisord_tells_of_the_process_count(
    model_server: ModelServerStub,
) -> None:
    pids = {"model-m": 2**30}  # gone, and its successor is not known yet
    polls = StatusPolls(pids.get)
    poll(polls, model_server, 2)
    pids["model-m"] = os.getpid()
    poll(polls, model_server)

    assert polls.others("model-m", "m", "OK", 5) == 2


def test_what_was_counted_outlives_control(model_server: ModelServerStub) -> None:
    polls = StatusPolls({"model-m": os.getpid()}.get)
    poll(polls, model_server, 3)

    later = StatusPolls({"model-m": os.getpid()}.get)
    later.recall(json.loads(json.dumps(polls.to_document())))

    assert later.others("model-m", "m", "OK", 5) == 2
