"""The embedded model server as forks of one process that has TensorFlow loaded: a start takes half a second.

    python preloaded_model_server.py DIRECTORY

It loads TensorFlow, says `ready` on stdout, then forks a model server for each client of DIRECTORY/socket, as long as
anybody holds a shared lock of DIRECTORY/users. `forked_model_server` is what a stack starts.

A model server dies with the process that had it forked, however that one ends, even if it is stopped (SIGSTOP).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

STOP = b"stop"  # these two are forked_model_server's, too
SEPARATOR = "\0"


@contextlib.contextmanager
def shared(directory: Path) -> Iterator[Path]:
    """The socket of the one server that all test processes with this directory use; the first one starts it.

    It ends when the last of them has gone, however that one ends: the kernel gives their locks back.
    """
    directory.mkdir(exist_ok=True)
    path = directory / "socket"
    with (directory / "users").open("w") as users, (directory / "starting").open("w") as starting:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not path.exists():
            _start(directory)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield path


def _start(directory: Path) -> None:
    daemon = Path(__file__).parents[2] / "daemon"
    log = directory / "log"
    with log.open("wb") as errors:
        server = subprocess.Popen(
            [sys.executable, __file__, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(daemon), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    assert server.stdout
    assert server.stdout.readline() == b"ready\n", log.read_text()


class Fork:
    """A model server with these flags, whose stdout and stderr go to a file. `pid` is its own process."""

    def __init__(self, path: Path, flags: Sequence[str], output: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(str(path))
        with output.open("wb") as file:
            message = SEPARATOR.join(flags).encode()
            socket.send_fds(self._server, [message], [file.fileno()] * 2)
        self.pid = int(self._server.recv(16))
        self._code: int | None = None

    def exit_code(self) -> int | None:
        """The exit code (negative: a signal), or None while it lives."""
        if self._code is None:
            with contextlib.suppress(BlockingIOError):
                self._code = int(self._server.recv(16, socket.MSG_DONTWAIT))
        return self._code

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self.exit_code() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code = int(self._server.recv(16))


def serve(directory: Path) -> None:
    """Fork a model server for each client, until nobody wants one any more."""
    # TensorFlow, and what the server would import later
    from tfsd.model_server import __main__ as program

    program.load_server_module()
    from tfsd.model_server.rest import api  # noqa: F401

    gc.collect()
    gc.freeze()  # or each fork would copy most pages at its first collection
    signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist's workers ignore it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(directory / "socket"))
    listener.listen(64)
    threading.Thread(target=_end_without_users, args=(directory,), daemon=True).start()
    print("ready", flush=True)
    waiting = select.epoll()
    waiting.register(listener, select.EPOLLIN)
    forks: dict[
        int, tuple[int, int, socket.socket]
    ] = {}  # by both descriptors: its pidfd, process id and client
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor == listener.fileno():
                client, _ = listener.accept()
                pid = os.fork()
                if pid == 0:
                    become_model_server(client)
                pidfd = os.pidfd_open(pid)
                waiting.register(pidfd, select.EPOLLIN)  # it has ended
                waiting.register(client, 0)  # hung up
                forks[pidfd] = forks[client.fileno()] = (pidfd, pid, client)
            elif descriptor in forks:
                pidfd, pid, client = forks[descriptor]
                if descriptor != pidfd:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                del forks[pidfd], forks[client.fileno()]
                waiting.unregister(pidfd)
                waiting.unregister(client)
                os.close(pidfd)
                _tell_the_end(pid, client)


def _tell_the_end(pid: int, client: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # the client has gone
        client.send(b"%d" % os.waitstatus_to_exitcode(status))
    client.close()


def _end_without_users(directory: Path) -> None:
    with (directory / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        (directory / "socket").unlink()
        os._exit(0)


def become_model_server(client: socket.socket) -> None:
    """Be a model server with the client's flags, stdout and stderr. Does not return."""
    from tfsd.model_server import __main__ as program

    code = program.FAILED
    try:
        message, descriptors, _, _ = socket.recv_fds(client, 65536, 2)
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        client.send(b"%d" % os.getpid())
        threading.Thread(target=_obey, args=(client,), daemon=True).start()
        code = program.main(message.decode().split(SEPARATOR))
    finally:
        os._exit(code)


def _obey(client: socket.socket) -> None:
    """Stop when the client says so."""
    while client.recv(len(STOP)):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
