"""The worker as supervisord runs it: a process with its listening socket as file descriptor 0."""

from __future__ import annotations

import json
import os
import signal
import socket as blocking
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess  # whose loop reaps children once any test has used it
from stub_model_server import PREDICTIONS
from worker_client import Client, plan_of

from tfsd.run_dir import RunDir

DAEMON = Path(__file__).parents[3] / "daemon"
STOP_SECONDS = "11"  # of which three are a worker's to finish requests, see stop_times

SCRIPT = """
import os, signal, sys, threading, time
import gevent.monkey
import requests

from tfsd.run_dir import RunDir

SLEEP = gevent.monkey.get_original("time", "sleep")  # lets nobody else of this process run
START_GREETING = sys.stdin.read()
print("imported")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as libraries do

def handler(data, context):
    wish = data.read().decode()
    if wish == "predict":
        return requests.post(context.rest_uri, data="{}").content
    if wish == "slow":
        open(os.environ["SLOW"], "w").close()
        time.sleep(0.5)
        return "slept"
    if wish == "stuck":
        open(os.environ["STUCK"], "w").close()
        while True:
            SLEEP(0.01)
    if wish == "stream":
        return (piece for piece in ("a", "b"))
    return "pid %d" % os.getpid()
"""


class Worker:
    def __init__(self, run_dir: Path, stub: Any, script: str) -> None:
        plan_of(stub, script=script).save(RunDir(run_dir))
        RunDir(run_dir).make(multi_model=False)
        self.run_dir = run_dir
        self.path = str(run_dir / "worker.sock")
        self.listener = blocking.socket(blocking.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tfsd.worker", "--pool", "mine", "--worker", "worker-mine-0"]
        self.process = subprocess.Popen(
            [*command, "--run-dir", str(self.run_dir)],
            stdin=self.listener,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(DAEMON),
                "SLOW": str(self.run_dir / "slow"),
                "STUCK": str(self.run_dir / "stuck"),
                "SAGEMAKER_TFS_STOP_SECONDS": STOP_SECONDS,
            },
        )

    def client(self) -> Client:
        return Client(self.path)

    def wait(self) -> int:
        """The exit status, waited for without stopping the stub in this process."""
        while self.process.poll() is None:
            gevent.sleep(0.02)
        return self.process.returncode

    @property
    def heartbeat(self) -> float:
        return (self.run_dir / "heartbeats" / "worker-mine-0").stat().st_mtime


@pytest.fixture
def worker(tmp_path: Path, stub: Any) -> Iterator[Worker]:
    script = tmp_path / "inference.py"
    script.write_text(SCRIPT)
    worker = Worker(tmp_path, stub, str(script))
    yield worker
    if worker.process.poll() is None:
        worker.process.kill()
    worker.process.communicate()
    worker.listener.close()


def test_it_serves_and_beats(worker: Worker, stub: Any) -> None:
    client = worker.client()
    assert client.invoke(b"predict").body == PREDICTIONS
    assert client.invoke(b"predict").body == PREDICTIONS
    assert stub.connections == 1  # the handler's requests.post is pooled
    assert client.invoke(b"stream").body == b"ab"
    first = worker.heartbeat
    while worker.heartbeat == first:
        gevent.sleep(0.05)


def test_sigterm_finishes_what_is_in_flight(worker: Worker) -> None:
    client = worker.client()
    client.invoke(b"hello")
    slow = gevent.spawn(client.invoke, b"slow")
    with gevent.Timeout(30):
        while not (worker.run_dir / "slow").exists():
            gevent.sleep(0.02)
    worker.process.send_signal(signal.SIGTERM)
    assert slow.get().body == b"slept"
    assert worker.wait() == 0
    assert "1 requests in flight" in worker.process.stdout.read()


def test_the_successor_takes_what_waits_in_the_socket(worker: Worker) -> None:
    worker.client().invoke(b"hello")
    worker.process.kill()
    worker.wait()
    waiting = gevent.spawn(worker.client().invoke, b"hello")
    gevent.sleep(0.05)
    worker.start()
    assert waiting.get().body == b"pid %d" % worker.process.pid


def test_sigterm_ends_a_worker_that_is_stuck(worker: Worker) -> None:
    client = worker.client()
    client.invoke(b"hello")
    gevent.spawn(client.invoke, b"stuck")
    with gevent.Timeout(30):
        while not (worker.run_dir / "stuck").exists():
            gevent.sleep(0.02)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == -signal.SIGALRM


def test_a_script_that_breaks_after_the_check(tmp_path: Path, stub: Any) -> None:
    script = tmp_path / "inference.py"
    script.write_text("import nothing_of_that_name")
    worker = Worker(tmp_path, stub, str(script))
    assert worker.wait() == 1
    output = worker.process.communicate()[0]
    worker.listener.close()
    assert "worker-mine-0 ERROR" in output
    assert "nothing_of_that_name" in output


def check(*arguments: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "tfsd.worker", "--check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(DAEMON)},
    )


def test_check_prints_the_style_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper.py").write_text("print('from the helper')\nhandler = len")
    script = tmp_path / "inference.py"
    script.write_text(
        "import os, sys, threading, time\nos.system('echo from a child')\n"
        "print('worker imported:', 'tfsd.worker.main' in sys.modules)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "from helper import handler\n"
    )
    checked = check("--script", script, "--python-path", tmp_path / "lib", "--python-path", tmp_path)
    assert checked.returncode == 0
    assert json.loads(checked.stdout) == {"style": "handler"}
    assert "from the helper" in checked.stderr
    assert "from a child" in checked.stderr
    assert "worker imported: False" in checked.stderr


def test_check_has_what_a_worker_has_before_user_code_in_place_of_it(tmp_path: Path) -> None:
    """As in a worker, a `bottle` of user code's own comes too late, so that the script finds ours."""
    (tmp_path / "bottle.py").write_text("raise ImportError('not this one')")
    script = tmp_path / "inference.py"
    script.write_text(
        "from bottle import HTTPResponse\ndef handler(data, context): return HTTPResponse(data.read())\n"
    )
    checked = check("--script", script, "--python-path", tmp_path)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("text", "said", "details"),
    [
        (
            "import nothing_of_that_name",
            "inference.py does not import: ModuleNotFoundError: No module named 'nothing_of_that_name' "
            "(inference.py, line 1)",
            True,
        ),
        ("def f(:", "inference.py does not import: SyntaxError: invalid syntax (inference.py, line 1)", True),
        (
            "import sys\nsys.exit(0)",
            "inference.py does not import: SystemExit: 0 (inference.py, line 2)",
            True,
        ),
        ("x = 1", "inference.py defines no function that could be used", False),
        ("def input_handler(d, c): pass", "without `output_handler`", False),
    ],
)
def test_check_refuses(tmp_path: Path, text: str, said: str, details: bool) -> None:
    script = tmp_path / "inference.py"
    script.write_text(text)
    checked = check("--script", script)
    assert checked.returncode == 1
    verdict = json.loads(checked.stdout)
    assert said in verdict["error"]
    assert bool(verdict.get("details")) == details
    assert "tfsd" not in checked.stdout  # the user's frames, not ours


def test_check_builds_what_the_worker_will_run(tmp_path: Path) -> None:
    """An older protobuf that user code brings breaks the endpoint of `input_fn` when it is built, not the script."""
    package = tmp_path / "lib" / "google" / "protobuf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('too old')")
    (tmp_path / "lib" / "google" / "__init__.py").touch()
    script = tmp_path / "inference.py"
    script.write_text("def input_fn(data, content_type): return data")
    checked = check("--script", script, "--python-path", tmp_path / "lib", "--python-path", tmp_path)
    assert checked.returncode == 1
    verdict = json.loads(checked.stdout)
    assert "the worker does not start with it: ImportError: too old" in verdict["error"]
    assert verdict["details"]


@pytest.mark.parametrize("name", ["requests", "urllib3", "grpc"])
def test_check_imports_what_user_code_brings_and_may_import_later(tmp_path: Path, name: str) -> None:
    (tmp_path / "lib" / name).mkdir(parents=True)
    (tmp_path / "lib" / name / "__init__.py").write_text("raise ImportError('too old')")
    script = tmp_path / "inference.py"
    script.write_text("def handler(data, context): return data.read()")
    assert check("--script", script).returncode == 0
    checked = check("--script", script, "--python-path", tmp_path / "lib")
    assert checked.returncode == 1
    assert "the worker does not start with it: ImportError: too old" in json.loads(checked.stdout)["error"]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("def input_handler(d, c): return d\ndef output_handler(d, c): return d, c\n", "stringprep"),
        ("def input_fn(data, content_type): return data\n", "asyncio"),
    ],
    ids=["handlers", "legacy"],
)
def test_check_notices_a_module_in_place_of_one_of_python_s(tmp_path: Path, text: str, hidden: str) -> None:
    """Which the worker would import after user code."""
    script = tmp_path / "inference.py"
    script.write_text(text)
    assert check("--script", script, "--python-path", tmp_path).returncode == 0
    (tmp_path / f"{hidden}.py").write_text("raise ImportError('not this one')")
    checked = check("--script", script, "--python-path", tmp_path)
    assert checked.returncode == 1
    assert "the worker does not start with it: ImportError: not this" in json.loads(checked.stdout)["error"]
