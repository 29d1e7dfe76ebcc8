"""SIGSTOP of supervisord, which reads the log: serving does not wait for it, and a stop still drains."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import requests

from support.stack import RunningStack

LONG = "x" * 4000  # of a line of the access log
REQUESTS = 100  # more than the pipe that supervisord reads takes
SLOW_HANDLER = """
import time

def handler(data, context):
    time.sleep(float(data.read()))
    return "slept", "text/plain"
"""


@pytest.fixture
def stack(models: Path, quick_model_server: Path, tmp_path: Path) -> RunningStack:
    (tmp_path / "model/code").mkdir(parents=True)
    (tmp_path / "model/half_plus_two").symlink_to(models / "half_plus_two")
    (tmp_path / "model/code/inference.py").write_text(SLOW_HANDLER)
    return RunningStack(
        tmp_path / "stack", tmp_path / "model", {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    )


def test_serving_goes_on(stack: RunningStack) -> None:
    with stack:
        assert stack.process
        os.kill(stack.process.pid, signal.SIGSTOP)
        with requests.Session() as session:
            for _ in range(REQUESTS):
                assert session.get(stack.url(f"/{LONG}"), timeout=10).status_code == 404
        assert stack.invoke("0").text == "slept"
        assert stack.ping().status_code == 200
        stack.wait_for(
            lambda: f"stopped supervisord (pid {stack.process.pid})" in stack.log_text(), 10, "told to go on"
        )
        assert stack.pid("control")


def test_a_stop_drains(stack: RunningStack) -> None:
    answers: list[requests.Response] = []
    with stack:
        assert stack.process
        thread = threading.Thread(target=lambda: answers.append(stack.invoke("4")))
        thread.start()
        in_flight = 'tfsd_requests_in_flight{model="half_plus_two",route="worker"} 1.0'
        stack.wait_for(
            lambda: in_flight in requests.get(stack.url("/metrics"), timeout=10).text, 30, "in flight"
        )
        os.kill(stack.process.pid, signal.SIGSTOP)
        assert stack.stop() == 0
        thread.join()
    assert [answer.status_code for answer in answers] == [200]
