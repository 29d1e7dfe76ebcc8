"""supervisord, with listening sockets that outlive the processes that inherit them, and logs that need no path.

supervisor closes the socket of an [fcgi-program] when its last process has ended, and makes a new one for the
next: clients in the backlog are cut off, new ones refused meanwhile. Here a socket stays open until supervisord
itself stops, or its group is removed, so they wait. The endpoint's own may be open already: then it is inherited.

supervisor opens `/dev/fd/1` anew for every program's log, which fails where that is a socket (systemd's journal) or a
pipe of another user (`su`). Here the descriptor itself is written to.

Owns nothing else; the configuration is `stack`'s.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import dispatchers, loggers, process, supervisord
from supervisor.datatypes import InetStreamSocketConfig
from supervisor.options import FastCGIGroupConfig, ServerOptions
from supervisor.socket_manager import SocketManager
from supervisor.states import SupervisorStates

from tfsd.run_dir import RunDir, replace
from tfsd.stack.ports import LISTENER

SAID_BYTES = 16 * 1024  # of a process's last output that are noted with its end


class LastingSocketManager(SocketManager):
    """Opens a group's socket once and closes it only when supervisord stops or the group is removed.

    `listener` is the descriptor of the only TCP socket, when it is open already.
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
            self.prepared = True
        super()._prepare_socket()

    def _close(self) -> None:
        """Called when no process has the socket any more."""
        if self.options.mood < SupervisorStates.RUNNING:
            super()._close()

    def remove(self) -> None:
        """Close the socket for good, and delete its file if it has one."""
        if self.prepared:
            super()._close()
        path = getattr(self.socket_config, "path", None)
        if path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class LastingGroup(process.FastCGIProcessGroup):
    """The processes of an [fcgi-program]."""

    def __init__(self, config: FastCGIGroupConfig):
        manager = functools.partial(LastingSocketManager, config.options)
        super().__init__(config, socketManager=manager)

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


class DescriptorHandler(loggers.FileHandler):
    """Writes to a descriptor that is open already, and never closes it."""

    def __init__(self, descriptor: int):
        loggers.Handler.__init__(self, os.fdopen(descriptor, "wb", buffering=0, closefd=False))

    def emit(self, record: loggers.LogRecord) -> None:
        """A line that cannot be written is lost; supervisord goes on without its reader."""
        line = record.msg if isinstance(record.msg, bytes) else (self.fmt % record.asdict()).encode()
        with contextlib.suppress(OSError):
            self.stream.write(line)

    def close(self) -> None:
        """Nothing to do: the descriptor is supervisord's own stdout or stderr."""

    reopen = remove = close


def handle_descriptors(handle_file: Callable[..., None]) -> Callable[..., None]:
    """supervisor's `loggers.handle_file`, with `/dev/fd/N` meaning the descriptor and not a path."""

    def handle(logger: loggers.Logger, filename: str, fmt: str, *more: Any, **named: Any) -> None:
        number = filename.removeprefix("/dev/fd/")
        if number == filename or not number.isdigit():
            handle_file(logger, filename, fmt, *more, **named)
            return
        handler = DescriptorHandler(int(number))
        handler.setFormat(fmt)
        handler.setLevel(logger.level)
        logger.addHandler(handler)

    return handle


def note_ends(finish: Callable[..., None]) -> Callable[..., None]:
    """supervisor's Subprocess.finish, noting how each process ended in the run directory, if it has a place for that.

    supervisord itself says so only in its log, and control must tell a model server that the kernel killed from
    one that refuses its model, and why it does. The run directory is where the configuration file is.
    """

    def noting(self: process.Subprocess, pid: int, status: int) -> None:
        finish(self, pid, status)
        said = getattr(self, "said", b"").decode("utf-8", "replace")
        self.said = b""  # the next process of this program says things of its own
        note = {"pid": pid, "code": os.waitstatus_to_exitcode(status), "said": said}
        run_dir = RunDir(Path(self.config.options.configfile).parent)
        with contextlib.suppress(OSError):
            replace(run_dir.end(self.config.name), json.dumps(note))

    return noting


def main() -> None:
    """Run supervisord with its own command line."""
    dispatchers.POutputDispatcher.record_output = keep_output(dispatchers.POutputDispatcher.record_output)
    listener = os.environ.pop(LISTENER, None)
    LastingSocketManager.listener = int(listener) if listener else None
    loggers.handle_file = handle_descriptors(loggers.handle_file)
    process.Subprocess.finish = note_ends(process.Subprocess.finish)
    process.FastCGIProcessGroup = LastingGroup
    supervisord.main()


if __name__ == "__main__":
    main()
