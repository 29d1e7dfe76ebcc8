"""bin/local as a newcomer uses it, in an environment that is installed already."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tfsd.local import set_up
from tfsd.local.output import is_notice
from tfsd.stack.ports import allocate

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "bin" / "local"
START_SECONDS = 120
STOP_SECONDS = 40


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Nothing here may install anything."""
    if not all(set_up.is_installed(extra) for extra in ("", *set_up.extras_for("serve"))):
        pytest.skip("bin/local would install something first; run the tests with bin/local test")


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One command of bin/local that ends by itself, called from another directory."""
    return subprocess.run(
        [LOCAL, *words], capture_output=True, text=True, timeout=60, cwd="/", env={**os.environ, **environ}
    )


class Serving:
    """`bin/local serve` with a run directory and a port of its own."""

    def __init__(self, directory: Path, *words: str, **environ: str):
        directory.mkdir(exist_ok=True)
        self._short = tempfile.TemporaryDirectory(prefix="tfsd-", ignore_cleanup_errors=True)
        self.run_dir = Path(self._short.name) / "run"  # pytest's own directories are too long for sockets
        self.port = allocate(1)[0]
        self.output = directory / "output"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER_")}
        command: list[str | Path] = [
            LOCAL,
            "serve",
            *words,
            "--port",
            str(self.port),
            "--run-dir",
            str(self.run_dir),
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**kept, **environ}
            )

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def shown(self) -> tuple[str, str]:
        """The curl line and the answer below it, once they are printed."""
        found = self.wait_for(
            rf"serving at http://localhost:{self.port}/invocations, status page at \S*\. Try:"
            r"\n\n  (curl .*)\n\n([^\0]+?)\n\n"
        )
        return found[1], found[2]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of a pattern, once it is printed."""
        end = time.monotonic() + START_SECONDS
        while not (found := re.search(pattern, self.text())):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < end, self.text()
            time.sleep(0.2)
        return found

    def listens_on(self) -> list[str]:
        """The IPv4 addresses on which something listens at the port."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [row[1].split(":") for row in rows if row[3] == "0A"]
        ours = [address for address, port in listening if int(port, 16) == self.port]
        return sorted({socket.inet_ntoa(bytes.fromhex(address)[::-1]) for address in ours})

    def stop(self, number: int = signal.SIGINT) -> int:
        """Signal bin/local alone; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def processes(self) -> list[str]:
        """Command lines that name the run directory."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                command = (directory / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.run_dir) in command and int(directory.name) != os.getpid():
                found.append(command.replace("\0", " "))
        return found

    def assert_gone(self) -> None:
        """No process, no socket, and the port is free."""
        assert not self.processes()
        assert not [path for path in self.run_dir.rglob("*") if path.is_socket()]
        socket.create_server(("0.0.0.0", self.port)).close()


def shell(line: str) -> str:
    """What a pasted line prints."""
    return subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_example_from_start_to_end(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        line, answer = serving.shown()
        assert shell(line).strip() == answer
        document = json.loads(answer)
        assert set(document) == {"digit", "probabilities"}
        assert document["digit"] == max(range(10), key=document["probabilities"].__getitem__)

        status = run("ctl", "--run-dir", str(serving.run_dir), "status").stdout
        states = {row.split()[0]: row.split()[1] for row in status.splitlines()}
        workers = {name for name in states if name.startswith("worker-default")}
        assert set(states) == {"nginx", "control", "model-digits", *workers}
        assert workers
        assert set(states.values()) == {"RUNNING"}
        assert serving.processes()

        before = serving.text().partition("  curl ")[0].splitlines()
        assert len(before) <= 10, serving.text()
        assert not [line for line in before if is_notice(line.encode())]
        assert serving.listens_on() == ["127.0.0.1"]

        assert serving.stop() == 0
        assert "bin/local: stopping" in serving.text()
        serving.assert_gone()
    assert "Traceback" not in serving.text()


def test_verbose_shows_all_that_happens(models: Path, tmp_path: Path, quick_model_server: Path) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with Serving(tmp_path, str(models / "half_plus_three"), "--verbose", **environ) as serving:
        for notice in (
            r"INFO spawned: 'nginx' with pid \d+\n",  # supervisord's
            r"worker-default INFO Ready",  # the worker's
            rf"serving at http://localhost:{serving.port}/invocations",
        ):
            serving.wait_for(notice)
        assert len(serving.text().partition("serving at")[0].splitlines()) > 10, serving.text()
        assert "--verbose" not in serving.text()
        assert serving.stop() == 0


@pytest.fixture
def archive(models: Path, tmp_path: Path) -> Path:
    """A model.tar.gz as the SageMaker SDK packs it: `./` before every name, no directory around."""
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(models / "half_plus_two" / "123", "./00000123")
    return path


@pytest.fixture
def several() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_two_side_by_side_from_an_archive_and_a_directory(
    several: ExitStack, archive: Path, models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    directory = tmp_path / "my models"
    directory.mkdir()
    (directory / "half_plus_three").symlink_to(models / "half_plus_three")
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:1")  # for other machines, and down
    first = several.enter_context(Serving(tmp_path / "first", str(archive), **environ, **proxy))
    second = several.enter_context(Serving(tmp_path / "second one", str(directory), **environ))
    for serving, y in ((first, 2.0), (second, 3.0)):
        line, answer = serving.shown()
        assert shell(line).strip() == answer
        assert json.loads(answer) == {"outputs": [y]}  # for a zero, made from the signature
    status = run("--run-dir", str(first.run_dir), "ctl", "status").stdout
    assert [row.split()[0] for row in status.splitlines()] == [
        "control",
        "model-model",
        "nginx",
        "worker-default",
    ]

    assert first.stop() == 0
    first.assert_gone()
    response = requests.post(
        f"http://localhost:{second.port}/invocations", json={"instances": [1.0]}, timeout=10
    )
    assert response.json() == {"predictions": [3.5]}
    assert second.stop(signal.SIGTERM) == 0
    second.assert_gone()


def test_second_serve_in_the_same_run_directory_leaves_the_first_alone(
    models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with Serving(tmp_path, str(models / "half_plus_three"), **environ) as first:
        first.shown()
        second = run(
            "serve", str(models / "matrix"), "--port", "1", "--run-dir", str(first.run_dir), **environ
        )
        assert second.returncode == 1
        assert f"a stack is running in {first.run_dir} already" in second.stderr
        status = run("ctl", "--run-dir", str(first.run_dir), "status").stdout
        assert status.count("RUNNING") == 4
        body = {"instances": [1.0]}
        answer = requests.post(f"http://localhost:{first.port}/invocations", json=body, timeout=10)
        assert answer.json() == {"predictions": [3.5]}


def test_help_tells_the_verbs() -> None:
    for word in ("--help", "-h", "help"):
        helped = run(word)
        assert (helped.returncode, helped.stderr) == (0, "")
        for verb in ("serve", "test", "ctl", "bench", "exec", "--run-dir", "--port"):
            assert verb in helped.stdout
    assert run().stdout == run("--help").stdout


def test_unknown_verb() -> None:
    failed = run("surf")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == f"bin/local: no such verb: surf; the verbs are {', '.join(set_up.VERBS)}.\n"


def test_exec_runs_in_the_environment() -> None:
    done = run("exec", "python", "-c", "import sys, tfsd; print(sys.prefix); sys.exit(7)")
    assert (done.returncode, done.stdout.strip()) == (7, str(ROOT / ".venv"))
    done = run("exec", "echo", "--help", "serve", "-x")  # the command's words are its own
    assert done.stdout == "--help serve -x\n"
    failed = run("exec", "no-such-command")
    assert (failed.returncode, failed.stderr) == (
        1,
        "bin/local: cannot run no-such-command: No such file or directory.\n",
    )


def test_mistakes_are_one_line(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no archive")
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:1000])
    with tarfile.open(tmp_path / "outside.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "notes.txt", "../../outside.txt")
    for words, told in (
        (("ctl", "--run-dir", str(tmp_path), "status"), "there is no stack in"),
        (("exec",), "exec needs a command"),
        (("serve", "/no/such/model"), "/no/such/model does not exist"),
        (("serve", str(tmp_path / "notes.txt")), "notes.txt is neither a directory nor a tar archive"),
        (("serve", str(tmp_path / "cut.tar.gz")), "cut.tar.gz cannot be unpacked: "),
        (("serve", str(tmp_path / "outside.tar.gz")), "outside.tar.gz cannot be unpacked: "),
    ):
        failed = run(*words, "--run-dir", str(tmp_path / "run")) if words[0] == "serve" else run(*words)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith("bin/local: ")
        assert told in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "outside.txt").exists()


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(
    tmp_path: Path, quick_model_server: Path
) -> None:
    (tmp_path / "net" / "1").mkdir(parents=True)
    (tmp_path / "net" / "1" / "saved_model.pb").write_bytes(b"junk")
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with Serving(tmp_path / "local", str(tmp_path / "net"), **environ) as serving:
        assert serving.process.wait(START_SECONDS) == 1
        last = serving.text().splitlines()[-1]
        assert last.startswith(
            "bin/local: the endpoint does not become healthy: model 'model' cannot be loaded: "
        )
        serving.assert_gone()
    assert "serving at" not in serving.text()


def test_a_port_where_something_else_answers_pings(
    models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    """Another stack's answer is not ours, and what is no stack is no traceback."""

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Healthy) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        failed = run(
            "serve",
            str(models / "matrix"),
            *("--port", str(other.server_port), "--run-dir", str(tmp_path / "run")),
            SAGEMAKER_TFS_BINARY=str(quick_model_server),
        )
        other.shutdown()
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.splitlines() == [
        f"bin/local: starting on port {other.server_port}; --verbose shows all that happens.",
        f"serve: port {other.server_port} is in use; choose another with --port or SAGEMAKER_BIND_TO_PORT.",
    ]


def test_all_addresses_are_opened_when_asked_for(
    models: Path, tmp_path: Path, quick_model_server: Path
) -> None:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with Serving(tmp_path, str(models / "matrix"), "--host", "0.0.0.0", **environ) as serving:
        serving.shown()
        assert serving.listens_on() == ["0.0.0.0"]
        assert (
            f"port {serving.port} is open on all addresses of this machine: whoever reaches it"
            in serving.text()
        )
