"""The entry point up to starting processes: what it prepares, and the one clear line when it cannot serve."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfsd import logs
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack.design import Stack
from tfsd.stack.model_server_flags import EMBEDDED, NoModelServerError, find_command, is_embedded
from tfsd.start import serve

HANDLER = "def handler(data, context):\n    return data, 'application/json'\n"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """`prepare` sets the root logger up for its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def base(short_dir: Path) -> Path:
    """A base directory with one model."""
    lay(short_dir / "ml", "model/half/1/saved_model.pb")
    return short_dir / "ml"


@pytest.fixture
def environ(base: Path, free_port: int) -> dict[str, str]:
    variables = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(free_port)}
    return {"PATH": os.environ["PATH"] + ":/usr/sbin", "SAGEMAKER_GUNICORN_WORKERS": "1", **variables}


@pytest.fixture
def run_dir(short_dir: Path) -> Path:
    return short_dir / "run"


@pytest.fixture
def refusal(
    environ: dict[str, str],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., list[str]]:
    """The lines on stderr of an entry point that fails, without those of the log."""

    def fail(**more: str) -> list[str]:
        for name, value in {**environ, **more}.items():
            monkeypatch.setenv(name, value)
        assert serve.main(["--run-dir", str(run_dir)]) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if " serve INFO " not in line]
        assert lines[0].startswith("serve: ")
        return lines

    return fail


def lay(base: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text)


def prepare(environ: dict[str, str], run_dir: RunDir) -> Stack:
    """What `main` does between taking the run directory and taking the port, and becoming supervisord."""
    settings = Settings.from_environ(environ)
    logs.setup("serve", settings.log_level)
    run_dir.claim()
    return serve.prepare(settings, environ, run_dir)


def tree(directory: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in directory.rglob("*")}


class TestPrepare:
    def test_everything_is_in_the_run_directory(
        self, environ: dict[str, str], base: Path, run_dir: Path
    ) -> None:
        before = tree(base)
        stack = prepare(environ, RunDir(run_dir))
        assert Plan.load(RunDir(run_dir)) == stack.plan
        assert stack.plan.models["half"].base_path == str(base.resolve() / "model/half")
        for name in ("supervisord.conf", "nginx.conf", "router.js", "models/half.conf"):
            assert (run_dir / name).is_file()
        assert tree(base) == before

    def test_user_code_is_checked_and_planned(
        self, environ: dict[str, str], base: Path, run_dir: Path
    ) -> None:
        """In the SDK's own layout, with versions at the root, the code belongs to the only model."""
        (base / "model/half/1").rename(base / "model/5")
        lay(base, "model/code/inference.py", text=HANDLER)
        before = tree(base)
        plan = prepare(environ, RunDir(run_dir)).plan
        [pool] = plan.pools.values()
        assert set(plan.models) == {"model"}
        assert pool.script == str(base.resolve() / "model/code/inference.py")
        assert pool.python == sys.executable
        assert tree(base) == before

    def test_code_of_one_model_and_code_of_all_others(
        self, environ: dict[str, str], base: Path, run_dir: Path
    ) -> None:
        lay(base, "model/other/1/saved_model.pb")
        lay(base, "model/code/inference.py", "model/half/code/inference.py", text=HANDLER)
        plan = prepare(environ, RunDir(run_dir)).plan
        scripts = {name: plan.pools[model.pool].script for name, model in plan.models.items()}
        model_dir = base.resolve() / "model"
        assert scripts == {
            "half": str(model_dir / "half/code/inference.py"),
            "other": str(model_dir / "code/inference.py"),
        }

    def test_code_beside_the_model_directory(
        self, environ: dict[str, str], base: Path, run_dir: Path
    ) -> None:
        """`/opt/ml/code` counts when `/opt/ml/model/code` has no script."""
        lay(base, "code/inference.py", "model/code/requirements.txt", text=HANDLER)
        pools = prepare(environ, RunDir(run_dir)).plan.pools
        assert [pool.script for pool in pools.values()] == [str(base.resolve() / "code/inference.py")]
        lay(base, "model/code/inference.py", text=HANDLER)
        (base / "model/code/requirements.txt").unlink()
        pools = prepare(environ, RunDir(run_dir)).plan.pools
        assert [pool.script for pool in pools.values()] == [str(base.resolve() / "model/code/inference.py")]

    def test_what_does_not_count_is_warned_of(
        self, environ: dict[str, str], base: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lay(base, "model/code/entry.py", text=HANDLER)
        prepare({**environ, "SAGEMAKER_TFS_ENABLE_BATCH": "true"}, RunDir(run_dir))
        warnings = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
        assert "did you mean SAGEMAKER_TFS_ENABLE_BATCHING?" in warnings[0]
        assert "has no inference.py, so no code of it runs; it has entry.py" in warnings[1]

    def test_only_the_newest_versions(self, environ: dict[str, str], base: Path, run_dir: Path) -> None:
        lay(base, "model/half/2/saved_model.pb", "model/half/3/saved_model.pb")
        run = RunDir(run_dir)
        plan = prepare({**environ, "SAGEMAKER_TFS_VERSION_POLICY": "latest:2"}, run).plan
        assert plan.models["half"].versions == (2, 3)
        assert "versions: 2 versions: 3 }" in run.models_conf("half").read_text()

    def test_what_was_rendered_is_in_the_log_once(
        self, environ: dict[str, str], run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prepare({**environ, "SAGEMAKER_TFS_ENABLE_BATCHING": "true"}, RunDir(run_dir))
        log = capsys.readouterr().err
        for text in ("max_batch_size { value: 8 }", "error_log stderr error;", "proxy_read_timeout 62s;"):
            assert log.count(f"serve INFO {text}") == 1

    def test_what_an_earlier_run_left_is_removed(self, environ: dict[str, str], run_dir: Path) -> None:
        lay(run_dir, "sockets/worker-old.sock", "heartbeats/worker-old", "models/old.conf", "control.sock")
        lay(run_dir, "ends/worker-old", "pools/old", "programs/old.conf", "journal/old.json")
        prepare(environ, RunDir(run_dir))
        assert not list(run_dir.rglob("*old*"))
        assert not (run_dir / "control.sock").exists()

    def test_ignored_variables_are_named_in_the_log(
        self, environ: dict[str, str], run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prepare({**environ, "SAGEMAKER_GUNICORN_THREADS": "4"}, RunDir(run_dir))
        [line] = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
        assert "SAGEMAKER_GUNICORN_THREADS has no effect" in line

    def test_a_binary_that_loads_no_op_libraries_is_named_in_the_log(
        self, environ: dict[str, str], run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        binary = tmp_path / "tensorflow_model_server"
        binary.touch(mode=0o755)
        given = {"SAGEMAKER_TFS_BINARY": str(binary), "SAGEMAKER_TFS_OP_LIBRARIES": "tensorflow_text"}
        stack = prepare({**environ, **given}, RunDir(run_dir))
        [line] = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
        assert f"SAGEMAKER_TFS_OP_LIBRARIES has no effect: {binary} has the ops it was built with" in line
        assert stack.model_server_command == [str(binary)]


class TestRefusals:
    def test_bad_variables_one_a_line(self, refusal: Callable[..., list[str]]) -> None:
        lines = refusal(SAGEMAKER_BATCH="maybe", OMP_NUM_THREADS="0")
        assert len(lines) == 2
        assert "SAGEMAKER_BATCH" in lines[0]
        assert "OMP_NUM_THREADS" in lines[1]

    def test_no_model(self, refusal: Callable[..., list[str]], base: Path) -> None:
        (base / "model/half/1/saved_model.pb").rename(base / "model/half/net.h5")
        [line] = refusal()
        assert "net.h5 is a Keras file" in line

    def test_a_port_in_use(self, refusal: Callable[..., list[str]], environ: dict[str, str]) -> None:
        port = environ["SAGEMAKER_BIND_TO_PORT"]
        with socket.create_server(("127.0.0.1", int(port))):
            [line] = refusal()
        assert f"port {port} is in use" in line
        assert "--port or SAGEMAKER_BIND_TO_PORT" in line

    def test_a_run_directory_that_cannot_be_made(
        self,
        environ: dict[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(os, "environ", environ)
        (tmp_path / "file").touch()
        assert serve.main(["--run-dir", str(tmp_path / "file" / "run")]) == 1
        assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]

    def test_a_program_that_is_in_no_code_directory(self, refusal: Callable[..., list[str]]) -> None:
        [line] = refusal(SAGEMAKER_PROGRAM="main.py")
        assert "SAGEMAKER_PROGRAM=main.py" in line

    def test_a_port_range_that_is_too_small(self, refusal: Callable[..., list[str]]) -> None:
        [line] = refusal(SAGEMAKER_SAFE_PORT_RANGE="9000-9000")
        assert "9000-9000" in line

    def test_an_unknown_default_model(self, refusal: Callable[..., list[str]]) -> None:
        [line] = refusal(SAGEMAKER_TFS_DEFAULT_MODEL_NAME="other")
        assert "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=other" in line
        assert "half" in line

    def test_a_model_server_that_is_not_there(self, refusal: Callable[..., list[str]]) -> None:
        [line] = refusal(SAGEMAKER_TFS_BINARY="/nowhere/server")
        assert "SAGEMAKER_TFS_BINARY=/nowhere/server" in line

    def test_a_stack_that_is_running_already(self, refusal: Callable[..., list[str]], run_dir: Path) -> None:
        run_dir.mkdir()
        with socket.socket(socket.AF_UNIX) as supervisord:
            supervisord.bind(str(run_dir / "supervisor.sock"))
            supervisord.listen()
            [line] = refusal()
        assert "already" in line
        assert "--run-dir" in line

    @pytest.mark.parametrize(
        ("script", "part"),
        [
            ("import no_such_module_here\n", "No module named 'no_such_module_here'"),
            ("def handle(data, context):\n    pass\n", "handler"),
        ],
    )
    def test_a_script_that_cannot_serve(
        self, refusal: Callable[..., list[str]], base: Path, script: str, part: str
    ) -> None:
        lay(base, "model/code/inference.py", text=script)
        [line] = refusal()
        assert "inference.py" in line
        assert part in line

    def test_requirements_that_fail(self, refusal: Callable[..., list[str]], base: Path) -> None:
        lay(base, "model/code/inference.py", text=HANDLER)
        lay(base, "model/code/requirements.txt", text="--no-index\nno-such-package-here==1\n")
        [line] = refusal()
        assert "code/requirements.txt: The package index has no no-such-package-here==1" in line


class TestModelServerCommand:
    def command(self, path: Path, **environ: str) -> list[str]:
        return find_command(Settings.from_environ(environ, cpus=1), {"PATH": str(path)})

    @pytest.fixture
    def bin(self, tmp_path: Path) -> Path:
        for name in ("tensorflow_model_server", "other_server"):
            (tmp_path / name).touch(mode=0o755)
        return tmp_path

    def test_the_real_one_if_there_is_one(self, bin: Path) -> None:
        assert self.command(bin) == [str(bin / "tensorflow_model_server")]

    def test_else_the_embedded_one(self, bin: Path) -> None:
        assert self.command(Path("/nowhere")) == [sys.executable, *EMBEDDED]

    def test_the_one_that_is_named(self, bin: Path) -> None:
        for name in ("other_server", str(bin / "other_server")):
            assert self.command(bin, SAGEMAKER_TFS_BINARY=name) == [str(bin / "other_server")]

    def test_one_that_cannot_be_executed(self, bin: Path) -> None:
        (bin / "other_server").chmod(0o644)
        with pytest.raises(NoModelServerError, match="SAGEMAKER_TFS_BINARY=other_server"):
            self.command(bin, SAGEMAKER_TFS_BINARY="other_server")

    def test_op_libraries_of_the_embedded_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "lib.so").touch()
        monkeypatch.chdir(tmp_path)
        found = self.command(Path("/nowhere"), SAGEMAKER_TFS_OP_LIBRARIES="./lib.so, json")
        assert found == [sys.executable, *EMBEDDED, f"--op_libraries={tmp_path}/lib.so,json"]
        assert is_embedded(found)

    @pytest.mark.parametrize("library", ["/no/such/file", "missing.so", "no_such_package_here"])
    def test_an_op_library_that_is_not_there(self, library: str) -> None:
        with pytest.raises(NoModelServerError, match=f"SAGEMAKER_TFS_OP_LIBRARIES names {library}"):
            self.command(Path("/nowhere"), SAGEMAKER_TFS_OP_LIBRARIES=library)
