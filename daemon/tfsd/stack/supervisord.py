"""supervisord, with listening sockets that outlive the processes that inherit them, and logs that need no path.

supervisor closes the socket of an [fcgi-program] when its last process has ended, and makes a new one for the
next: clients in the backlog are cut off, new ones refused meanwhile. Here a socket stays open until supervisord
itself stops, or its group is removed, so they wait. The endpoint's own may be open already: then it is inherited.

supervisor opens `/dev/fd/1` anew for every program's log, which fails where that is a socket (systemd's journal) or a
pipe of another user (`su`). Here the descriptor itself is written to, and nobody waits for who reads it (`outlet`).

supervisor waits for a second before it starts anything, and between what it does: here it does not (`PromptPoller`).

Owns nothing else; the configuration is `stack`'s.
"""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # an import makes objects that stay: looking for garbage is a tenth of its CPU time
    sys.modules["ssl"] = None  # type: ignore[assignment]  # http.client does without it, and nobody needs it here

import contextlib
import functools
import json
import os
import signal
import socket
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import dispatchers, loggers, poller, process, supervisord, xmlrpc
from supervisor.datatypes import InetStreamSocketConfig
from supervisor.options import FastCGIGroupConfig, ProcessException, ServerOptions
from supervisor.socket_manager import SocketManager
from supervisor.states import ProcessStates, SupervisorStates

from tfsd.run_dir import RunDir, replace
from tfsd.stack import nginx
from tfsd.stack.outlet import Outlet
from tfsd.stack.ports import LISTENER, PORT_TAKEN, is_free, ports_of
from tfsd.stack.prompt_poller import PatientResponse, PromptPoller
from tfsd.stop_times import AFTER_NGINX

NGINX = "nginx"
LAST_WORDS_SECONDS = 0.5
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
FIRST = 3  # descriptor besides stdin, stdout and stderr
SAID_BYTES = 16 * 1024  # of a process's last output that are noted with its end


class LastingSocketManager(SocketManager):
    """Opens a group's socket once and closes it only when supervisord stops or the group is removed.

    `listener` is the descriptor of the only TCP socket, when it is open already. It is taken once: whoever needs the
    socket after it was closed (`supervisorctl reload`) opens the port anew, since the number is another file's by then.
    """

    listener: int | None = None
    prepared: bool

    def __init__(self, options: ServerOptions, socket_config: Any, **more: Any):
        super().__init__(socket_config, **more)
        self.options = options

    def _prepare_socket(self) -> None:
        """Called when a process needs the socket."""
        if (
            not self.prepared
            and self.listener is not None
            and isinstance(self.config(), InetStreamSocketConfig)
        ):
            self.socket = socket.socket(fileno=self.listener)
            LastingSocketManager.listener = None
            self.prepared = True
        super()._prepare_socket()
        if isinstance(self.config(), InetStreamSocketConfig):
            # nginx expects what it inherits to be so: two of its workers race for a connection, and the loser would
            # hang in accept()
            self.socket.setblocking(False)

    def _close(self) -> None:
        """Called when no process has the socket any more."""
        if self.options.mood < SupervisorStates.RUNNING:
            self.close()

    def close(self) -> None:
        """Close the socket here; processes that inherited it still have it."""
        if self.prepared:
            super()._close()

    def remove(self) -> None:
        """Close the socket for good, and delete its file if it has one."""
        self.close()
        path = getattr(self.socket_config, "path", None)
        if path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class PromptSupervisor(supervisord.Supervisor):
    """Starts what is to be started at once."""

    def runforever(self) -> None:
        """supervisor's own looks at its programs only after it has waited for a second."""
        for group in sorted(self.process_groups.values()):
            group.transition()
        super().runforever()


class OrderlyGroup(process.ProcessGroup):
    """The processes of a [program]. When the whole stack stops, nginx has finished what was in flight before them."""

    def stop_all(self) -> None:
        _hurry(self)
        super().stop_all()


def _hurry(group: process.ProcessGroupBase) -> None:
    """Give the processes of a group less time to stop when there is nothing left that they could finish."""
    for each in group.processes.values():
        if each.config.options.mood < SupervisorStates.RUNNING and each.config.name != NGINX:
            each.config.stopwaitsecs = min(each.config.stopwaitsecs, AFTER_NGINX)


class LastingGroup(process.FastCGIProcessGroup):
    """The processes of an [fcgi-program]."""

    def __init__(self, config: FastCGIGroupConfig):
        manager = functools.partial(LastingSocketManager, config.options)
        super().__init__(config, socketManager=manager)

    def stop_all(self) -> None:
        """Called again and again while the whole stack stops, and when the group is stopped for itself.

        In the first case nobody will accept again: connections are refused from now on, rather than left hanging.
        """
        _hurry(self)
        if self.config.options.mood < SupervisorStates.RUNNING:
            self.socket_manager.close()
        super().stop_all()

    def before_remove(self) -> None:
        """Called when the group is removed from the running supervisord, its processes being stopped."""
        super().before_remove()
        self.socket_manager.remove()


def keep_output(record: Callable[..., None]) -> Callable[..., None]:
    """supervisor's POutputDispatcher.record_output, keeping the last of what a process wrote."""

    def keeping(self: dispatchers.POutputDispatcher) -> None:
        said = getattr(self.process, "said", b"") + self.output_buffer
        self.process.said = said[-SAID_BYTES:]
        record(self)

    return keeping


class OutletHandler(loggers.FileHandler):
    """Writes to a descriptor that is open already, and never closes it or waits for it."""

    def __init__(self, outlet: Outlet):
        loggers.Handler.__init__(self, None)
        self.outlet = outlet

    def emit(self, record: loggers.LogRecord) -> None:
        """A line that cannot be written is lost; supervisord goes on without its reader."""
        self.outlet.write(
            record.msg if isinstance(record.msg, bytes) else (self.fmt % record.asdict()).encode()
        )

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: the descriptor is supervisord's own stdout or stderr."""

    reopen = remove = close


class NoPages:
    """In place of supervisor's web pages, which are no use behind a unix socket: what they are made of is a tenth of
    what supervisord imports."""

    def __init__(self, supervisor: supervisord.Supervisor) -> None:
        """As supervisor makes its own."""

    def match(self, request: Any) -> bool:
        """None is ours."""
        return False


class Outlets:
    """supervisord's stdout and stderr, for its own log and for what all processes write."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._outlets: dict[int, Outlet] = {}

    def handle_file(
        self,
        handle_file: Callable[..., None],
        logger: loggers.Logger,
        filename: str,
        fmt: str,
        *more: Any,
        **named: Any,
    ) -> None:
        """supervisor's `loggers.handle_file`, with `/dev/fd/N` meaning the descriptor and not a path."""
        number = filename.removeprefix("/dev/fd/")
        if number == filename or not number.isdigit():
            handle_file(logger, filename, fmt, *more, **named)
        else:
            self._add(logger, int(number), fmt)

    def handle_stdout(self, logger: loggers.Logger, fmt: str) -> None:
        """supervisor's `loggers.handle_stdout`."""
        self._add(logger, 1, fmt)

    def close(self) -> None:
        """Write what is left, if somebody reads it."""
        for outlet in self._outlets.values():
            outlet.close(LAST_WORDS_SECONDS)

    def _note_dropped(self, _: int) -> None:
        """Tell control how many lines were dropped, for its metrics."""
        with contextlib.suppress(OSError):
            replace(self._run_dir.dropped_lines, str(sum(each.dropped for each in self._outlets.values())))

    def _add(self, logger: loggers.Logger, descriptor: int, fmt: str) -> None:
        if descriptor not in self._outlets:
            self._outlets[descriptor] = Outlet(descriptor, self._note_dropped)
        handler = OutletHandler(self._outlets[descriptor])
        handler.setFormat(fmt)
        handler.setLevel(logger.level)
        logger.addHandler(handler)


def _run_dir(of: process.Subprocess) -> RunDir:
    """Where the configuration file is."""
    return RunDir(Path(of.config.options.configfile).parent)


def note_ends(finish: Callable[..., None]) -> Callable[..., None]:
    """supervisor's Subprocess.finish, noting how each process ended in the run directory, if it has a place for that.

    supervisord itself says so only in its log, and control must tell a model server that the kernel killed from
    one that refuses its model, and why it does.
    """

    def noting(self: process.Subprocess, pid: int, status: int) -> None:
        finish(self, pid, status)
        said = getattr(self, "said", b"").decode("utf-8", "replace")
        self.said = b""  # the next process of this program says things of its own
        note = {"pid": pid, "code": os.waitstatus_to_exitcode(status), "said": said}
        with contextlib.suppress(OSError):
            replace(_run_dir(self).end(self.config.name), json.dumps(note))

    return noting


def prepare(arguments: Callable[..., Any]) -> Callable[..., Any]:
    """supervisor's Subprocess.get_execv_args, making way for nginx, and refusing to start a model server whose ports
    another process has.

    tensorflow_model_server ends when its gRPC port is taken, and serves gRPC only when its REST port is. The refusal is
    noted with the process (`spawnerr`), where control finds it, and the start is tried again.
    """

    def preparing(self: process.Subprocess) -> Any:
        filename, words = arguments(self)
        if self.state != ProcessStates.STARTING:  # it is asked for its arguments before, too
            return filename, words
        if self.config.name == NGINX:
            nginx.make_way(_run_dir(self))
        taken = [port for port in ports_of(words) if not is_free(port)]
        if taken:
            raise ProcessException(f"{PORT_TAKEN} {', '.join(map(str, taken))}")
        return filename, words

    return preparing


def fork(self: ServerOptions) -> int:
    """os.fork for a process that is about to be started, and that ends when it is told to stop before it has begun.

    supervisor's own handlers would take the signal in the child, which would then run until it is killed. And it would
    close a thousand descriptors one by one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        pid = os.fork()
        if pid == 0:
            for number in STOPPING:
                signal.signal(number, signal.SIG_DFL)
            self.close_fd = functools.partial(close_from, self.minfds)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def close_from(end: int, descriptor: int) -> None:
    """supervisor's `close_fd` in a child, which closes the descriptors from 3 up to `end`, and begins with that."""
    if descriptor == FIRST:
        os.closerange(FIRST, end)


def main() -> None:
    """Run supervisord with its own command line."""
    gc.freeze()  # what has been imported: no later collection, the last one included, looks at it again
    gc.enable()
    dispatchers.POutputDispatcher.record_output = keep_output(dispatchers.POutputDispatcher.record_output)
    listener = os.environ.pop(LISTENER, None)
    LastingSocketManager.listener = int(listener) if listener else None
    outlets = Outlets(RunDir(Path(sys.argv[sys.argv.index("-c") + 1]).parent))
    loggers.handle_file = functools.partial(outlets.handle_file, loggers.handle_file)
    loggers.handle_stdout = outlets.handle_stdout
    process.Subprocess.finish = note_ends(process.Subprocess.finish)
    process.Subprocess.get_execv_args = prepare(process.Subprocess.get_execv_args)
    process.FastCGIProcessGroup = LastingGroup
    process.ProcessGroup = OrderlyGroup
    ServerOptions.fork = fork
    supervisord.Supervisor = PromptSupervisor
    poller.Poller = PromptPoller
    xmlrpc.DeferredXMLRPCResponse = PatientResponse
    pages = types.ModuleType("supervisor.web")
    vars(pages)["supervisor_ui_handler"] = NoPages
    sys.modules[pages.__name__] = pages
    try:
        supervisord.main()
    finally:
        outlets.close()


if __name__ == "__main__":
    main()
