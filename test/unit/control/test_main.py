"""control as supervisord runs it: a real process on an inherited socket, with a worker that beats."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.control import ModelServerStub, Supervisord, eventually
from tfsd.control.connections import UnixConnection, fetch
from tfsd.control.supervisor_client import SupervisorClient
from tfsd.plan import Model, ModelServer, Plan, Pool, Worker
from tfsd.run_dir import RunDir

WORKER = "import os, pathlib, time\nwhile True:\n    pathlib.Path(BEAT).touch()\n    time.sleep(0.2)\n"


@pytest.fixture
def stack(
    tmp_path: Path, model_server: ModelServerStub, start_supervisord: Callable[[str], Supervisord]
) -> Path:
    """The run directory of a running control with one model and one worker."""
    (tmp_path / "heartbeats").mkdir()
    script = tmp_path / "worker.py"
    script.write_text(WORKER.replace("BEAT", repr(str(tmp_path / "heartbeats" / "worker-default"))))
    server = ModelServer("model-m", model_server.port, 0)
    Plan(
        models={"m": Model("m", "/nowhere", (1,), (server,))},
        pools={"default": Pool("default", sys.executable, (Worker("worker-default", "unused"),))},
        default_model="m",
    ).save(RunDir(tmp_path))
    start_supervisord(f"""
[program:model-m]
command = sleep 3600
[program:worker-default]
command = {sys.executable} {script}
startsecs = 0
[fcgi-program:control]
command = {sys.executable} -m tfsd.control --run-dir {tmp_path}
socket = unix://{tmp_path}/control.sock
startsecs = 0
environment = SAGEMAKER_GUNICORN_TIMEOUT_SECONDS="1"
stderr_logfile = {tmp_path}/control.log
""")
    return tmp_path


def get(stack: Path, path: str) -> tuple[int, str]:
    try:
        status, body = fetch(UnixConnection(stack / "control.sock", 10), path)
    except OSError as error:
        return 0, str(error)
    return status, body.decode()


def test_ping_follows_the_model_server(stack: Path, model_server: ModelServerStub) -> None:
    eventually(lambda: get(stack, "/ping") == (200, ""))
    assert get(stack, "/ping") == (200, "")

    model_server.states = {"1": "END"}
    model_server.error_message = "Missing ops"

    _, body = eventually(lambda: (a := get(stack, "/ping"))[0] == 503 and a)
    assert json.loads(body)["missing"] == [
        "model 'm' is not available (model-m: version 1 is END (UNKNOWN: Missing ops))"
    ]


def test_a_killed_control_comes_back_telling_the_truth_at_once(stack: Path) -> None:
    eventually(lambda: get(stack, "/ping")[0] == 200)
    client = SupervisorClient(RunDir(stack))
    pid = client.processes()["control"].pid

    os.kill(pid, signal.SIGKILL)
    answers = [get(stack, "/ping")]
    while client.processes()["control"].pid in (0, pid):
        answers.append(get(stack, "/ping"))
    answers.append(get(stack, "/ping"))

    cut_off = 0  # the connection that the dying process may have accepted; nginx tries again
    assert {status for status, _ in answers} - {cut_off} == {200}
    assert answers[-1] == (200, "")


def test_a_hung_worker_is_restarted(stack: Path) -> None:
    eventually(lambda: get(stack, "/ping")[0] == 200)
    client = SupervisorClient(RunDir(stack))
    pid = client.processes()["worker-default"].pid

    os.kill(pid, signal.SIGSTOP)

    eventually(lambda: client.processes()["worker-default"].pid not in (0, pid))
    assert "worker-default" in (stack / "control.log").read_text()
    eventually(lambda: get(stack, "/ping")[0] == 200)


def test_a_killed_control_counts_every_request_once(stack: Path) -> None:
    def counted() -> int:
        found = re.search(r'tfsd_requests_total{model="m",route="direct",status="200"} (.*)', metrics())
        return int(float(found[1])) if found else 0

    def metrics() -> str:
        return get(stack, "/metrics")[1]

    def log_requests(number: int) -> None:
        with (stack / "requests.log").open("a") as log:
            log.write("2026-01-01T00:00:00+00:00\tdirect\tm\t200\t0.002\t1\t-\t-\tid\n" * number)

    (stack / "requests.log").touch()
    eventually(lambda: get(stack, "/ping")[0] == 200)
    eventually(lambda: (stack / "control.state.json").exists())
    client = SupervisorClient(RunDir(stack))
    for total in (3, 7):
        log_requests(total)
        eventually(lambda total=total: counted() >= total)  # type: ignore[misc]
        process = client.processes()["control"]
        client.signal(process, "KILL")
        eventually(lambda pid=process.pid: client.processes()["control"].pid not in (0, pid))  # type: ignore[misc]

    eventually(lambda: counted() >= 10)
    assert counted() == 10
    assert 'tfsd_process_restarts_total{program="control"}' in metrics()


def test_control_stops_on_sigterm(stack: Path) -> None:
    eventually(lambda: get(stack, "/ping")[0] == 200)
    client = SupervisorClient(RunDir(stack))
    process = client.processes()["control"]

    client.signal(process, "TERM")

    eventually(lambda: client.processes()["control"].pid != process.pid)


def test_a_start_imports_neither_what_renders_metrics_nor_what_loads_models() -> None:
    """Half of all that control may need."""
    code = (
        "import sys, tfsd.control.__main__; "
        "print(sorted({'jinja2', 'prometheus_client', 'psutil', 'tfsd.control.models.loading'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
