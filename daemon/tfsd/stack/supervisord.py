"""supervisord, with listening sockets that outlive the processes that inherit them.

supervisor closes the socket of an [fcgi-program] when its last process has ended, and makes a new one for the
next: clients in the backlog are cut off, new ones refused meanwhile. Here a socket stays open until supervisord
itself stops, or its group is removed, so they wait. Owns nothing else; the configuration is `stack`'s.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import dispatchers, process, supervisord
from supervisor.options import FastCGIGroupConfig, ServerOptions
from supervisor.socket_manager import SocketManager
from supervisor.states import SupervisorStates

from tfsd.run_dir import RunDir, replace

SAID_BYTES = 16 * 1024  # of a process's last output that are noted with its end


class LastingSocketManager(SocketManager):
    """Opens a group's socket once and closes it only when supervisord stops or the group is removed."""

    def __init__(self, options: ServerOptions, socket_config: Any, **more: Any):
        super().__init__(socket_config, **more)
        self.options = options

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
    process.Subprocess.finish = note_ends(process.Subprocess.finish)
    process.FastCGIProcessGroup = LastingGroup
    supervisord.main()


if __name__ == "__main__":
    main()
