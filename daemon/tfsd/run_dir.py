"""The run directory of a stack: every name in it, what a start clears and makes, and how a file is replaced.

No other module knows a path below the run directory. Processes share these files and nothing else, so whatever
may be read while it is written is replaced atomically (`replace`). Imports nothing of tfsd but the errors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import stat
from pathlib import Path

from tfsd.errors import StartError

MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its final zero


class RunDirError(StartError):
    """The run directory cannot be used: its path, its owner, or the stack that is running in it."""


@dataclasses.dataclass(frozen=True)
class RunDir:
    """The names below `path`. Methods that take a name take what can stand in a file's name already."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    # What was rendered at start

    @property
    def supervisord_conf(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def nginx_conf(self) -> Path:
        return self.path / "nginx.conf"

    @property
    def decision_conf(self) -> Path:
        """nginx's maps that say which way an invocation takes."""
        return self.path / "decision.conf"

    @property
    def router_js(self) -> Path:
        return self.path / "router.js"

    @property
    def lines_js(self) -> Path:
        return self.path / "lines.js"

    @property
    def capture_js(self) -> Path:
        return self.path / "capture.js"

    @property
    def names_js(self) -> Path:
        return self.path / "names.js"

    @property
    def batching_conf(self) -> Path:
        return self.path / "batching.conf"

    @property
    def monitoring_conf(self) -> Path:
        return self.path / "monitoring.conf"

    @property
    def models(self) -> Path:
        return self.path / "models"

    def models_conf(self, name: str) -> Path:
        """`--model_config_file` of the model servers that have that name."""
        return self.models / f"{name}.conf"

    # What the processes tell each other

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def heartbeats(self) -> Path:
        return self.path / "heartbeats"

    def heartbeat(self, program: str) -> Path:
        """The file that a worker touches as long as its event loop turns."""
        return self.heartbeats / program

    @property
    def ends(self) -> Path:
        return self.path / "ends"

    def end(self, program: str) -> Path:
        """Where supervisord notes how the program's process ended, and what it said last."""
        return self.ends / program

    @property
    def large_answers(self) -> Path:
        """Marks of models whose answers are large, for nginx."""
        return self.path / "large"

    def large_answers_mark(self, name: str) -> Path:
        """The mark of a model, under the name by which nginx knows it."""
        return self.large_answers / name

    @property
    def links(self) -> Path:
        """Links by which nginx finds the slots of models (`stack.slots`), under the models' names."""
        return self.path / "links"

    def link(self, name: str) -> Path:
        """The link of the model."""
        return self.links / name

    @property
    def slots(self) -> Path:
        """A file for each slot that a link has led to: nginx follows none that leads nowhere."""
        return self.path / "slots"

    def slot(self, number: int) -> Path:
        """The file that has the name of the slot's upstream in nginx.conf."""
        return self.slots / f"slot_{number}"

    def pool_slot(self, number: int) -> Path:
        """The same of a slot for a pool of workers."""
        return self.slots / f"pool_{number}"

    def slot_socket(self, number: int, worker: int) -> Path:
        """The socket of a worker of a slot's pool. Raises RunDirError when the path is too long for one."""
        return _checked(self.sockets / f"slot-{number}-{worker}.sock")

    @property
    def nginx_socket(self) -> Path:
        """Where nginx tells control whether requests are in flight. Raises RunDirError for a path that is too long."""
        return _checked(self.path / "nginx.sock")

    @property
    def request_log(self) -> Path:
        """nginx's log of requests, for control's counters."""
        return self.path / "requests.log"

    @property
    def capture_log(self) -> Path:
        """nginx's log of captured requests, whose lines control moves to where captures lie."""
        return self.path / "captures.log"

    @property
    def dropped_captures(self) -> Path:
        """A byte for each captured request that nginx did not log, since the log was full."""
        return self.path / "captures.log.dropped"

    @property
    def dropped_lines(self) -> Path:
        """How many lines of the log supervisord has dropped, since nobody read them."""
        return self.path / "dropped_lines"

    def count_of_dropped_lines(self) -> int:
        """What stands there; 0 when nothing does."""
        try:
            return int(self.dropped_lines.read_text())
        except (OSError, ValueError):
            return 0

    @property
    def saved_counters(self) -> Path:
        return self.path / "control.state.json"

    @property
    def supervisord_pid(self) -> Path:
        return self.path / "supervisord.pid"

    @property
    def nginx_pid(self) -> Path:
        return self.path / "nginx.pid"

    @property
    def nginx_temporary(self) -> Path:
        """Where nginx keeps what does not fit into its buffers."""
        return self.path / "nginx"

    @property
    def draining(self) -> Path:
        """A mark: the container is about to be stopped, so that nobody should choose it for new requests."""
        return self.path / "draining"

    @property
    def started(self) -> Path:
        """A mark: the endpoint has been healthy since its start."""
        return self.path / "started"

    @property
    def healthy(self) -> Path:
        """A mark: when it was last touched, control saw a healthy endpoint."""
        return self.path / "healthy"

    # Sockets

    @property
    def supervisor_socket(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def errors_socket(self) -> Path:
        """Where workers tell control what they answered in place of a result, a datagram each."""
        return self.path / "errors.sock"

    @property
    def sockets(self) -> Path:
        return self.path / "sockets"

    def worker_socket(self, program: str) -> Path:
        """The socket of one worker process. Raises RunDirError when the path is too long for one."""
        return _checked(self.sockets / f"{program}.sock")

    def grpc_socket(self, program: str) -> Path:
        """The socket of a model server's gRPC API, which it makes itself. Raises RunDirError."""
        return _checked(self.sockets / f"{program}.sock")

    def pool_socket(self, model_id: str) -> Path:
        """The socket that the workers of a model share which was loaded at run time. Raises RunDirError."""
        return _checked(self.sockets / f"pool-{model_id}.sock")

    # Models that were loaded at run time

    @property
    def pools(self) -> Path:
        return self.path / "pools"

    def pool_mark(self, model_id: str) -> Path:
        """The file or link whose presence tells nginx that a model has workers of its own."""
        return self.pools / model_id

    @property
    def programs(self) -> Path:
        return self.path / "programs"

    def program_conf(self, name: str) -> Path:
        """supervisord's sections for what runs beside that with which it was started."""
        return self.programs / f"{name}.conf"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    def journal_entry(self, model_id: str) -> Path:
        """What is being done with a model just now."""
        return self.journal / f"{model_id}.json"

    # User code, and what outlives a stack

    def environment(self, pool: str) -> Path:
        """The virtual environment of a pool's code; kept, so that the next start need not install again."""
        return self.path / "environments" / pool

    @property
    def source(self) -> Path:
        """User code that came as an archive or from S3."""
        return self.path / "source"

    # What bin/local adds

    @property
    def base(self) -> Path:
        """The SAGEMAKER_BASE_DIR that bin/local makes for a model."""
        return self.path / "base"

    @property
    def sample_request(self) -> Path:
        return self.path / "sample.json"

    # The life of the directory

    def claim(self) -> None:
        """Make the directory, for ourselves alone, or take it if it is ours. Raises RunDirError.

        Whoever else could write here would have us run commands of his. Links that lie here are removed, so that
        nothing is written through them.
        """
        if ":" in str(self):
            raise RunDirError(
                f"the run directory {self} has a colon, at which nginx ends a socket's path; use another --run-dir"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            problem = self._foreign()
            if problem:
                raise RunDirError(f"the run directory {self} {problem}; use another --run-dir")
            self.refuse_second_stack()
            for path in self.path.iterdir():
                if path.is_symlink():
                    path.unlink()
        except OSError as error:
            raise RunDirError(
                f"the run directory {self} cannot be used: {error.strerror}: {error.filename}; use another --run-dir"
            ) from None

    def can_be_ours(self) -> bool:
        """Whether `claim` would find the directory ours, or could make it."""
        if os.path.lexists(self.path):
            return self._foreign() is None and os.access(self.path, os.W_OK)
        return os.access(self.path.parent, os.W_OK)

    def _foreign(self) -> str | None:
        """Why the directory, which is there, is not ours alone."""
        mine = os.geteuid()
        found = self.path.stat()
        if not stat.S_ISDIR(found.st_mode):
            return "is a file"
        if found.st_uid != mine or self.path.lstat().st_uid != mine:
            return f"belongs to another user (id {found.st_uid})"
        if found.st_mode & stat.S_IWOTH:
            return "can be written by everybody"
        return None

    def refuse_second_stack(self) -> None:
        """Raises RunDirError when a supervisord listens here."""
        if self.has_stack():
            raise RunDirError(f"a stack is running in {self} already; stop it, or use another --run-dir")

    def has_stack(self) -> bool:
        """Whether a supervisord listens here."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.supervisor_socket))
            except OSError:
                return False
            return True

    @property
    def _directories(self) -> tuple[Path, ...]:
        return self.sockets, self.heartbeats, self.ends, self.large_answers, self.nginx_temporary, self.models

    @property
    def _multi_model_directories(self) -> tuple[Path, ...]:
        return self.programs, self.journal, self.pools, self.links, self.slots

    def clear(self) -> None:
        """Remove what an earlier stack left that would mislead the next one; make the directory if need be."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.remove_sockets()
        for path in self.path.glob(f"{self.capture_log.name}*"):
            remove(path)
        for path in (self.dropped_lines, self.draining, self.started, self.healthy):
            remove(path)
        for directory in (*self._directories, *self._multi_model_directories):
            remove(directory)

    def make(self, *, multi_model: bool) -> None:
        """Make the directories that a stack needs."""
        for directory in self._directories + (self._multi_model_directories if multi_model else ()):
            directory.mkdir(parents=True, exist_ok=True)

    def remove_sockets(self) -> None:
        """Remove all sockets; nobody listens on them any more."""
        own = self.control_socket, self.supervisor_socket, self.errors_socket, self.nginx_socket
        for path in (self.sockets, *own):
            remove(path)


def replace(path: Path, text: str) -> None:
    """Write a file so that whoever reads it meanwhile sees the old text or the new one, whole. Raises OSError.

    Only one process may write a file.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with partial.open("x") as file:  # never through a link
        file.write(text)
    partial.replace(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory, if it is there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def _checked(path: Path) -> Path:
    if len(str(path).encode()) > MAX_SOCKET_PATH_BYTES:
        raise RunDirError(
            f"the run directory's path is too long for unix sockets: {path} has more than "
            f"{MAX_SOCKET_PATH_BYTES} bytes; use a shorter --run-dir"
        )
    return path
