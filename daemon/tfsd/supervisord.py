"""supervisord, with listening sockets that outlive the processes that inherit them.

supervisor closes the socket of an [fcgi-program] when its last process has ended, and makes a new one for the
next: clients in the backlog are cut off, new ones refused meanwhile. Here a socket stays open until supervisord
itself stops, so they wait. Owns nothing else; the configuration is `stack`'s.
"""

from __future__ import annotations

import functools
from typing import Any

from supervisor import process, supervisord
from supervisor.options import FastCGIGroupConfig, ServerOptions
from supervisor.socket_manager import SocketManager
from supervisor.states import SupervisorStates


class LastingSocketManager(SocketManager):
    """Opens a group's socket once and closes it only when supervisord stops."""

    def __init__(self, options: ServerOptions, socket_config: Any, **more: Any):
        super().__init__(socket_config, **more)
        self.options = options

    def _close(self) -> None:
        """Called when no process has the socket any more."""
        if self.options.mood < SupervisorStates.RUNNING:
            super()._close()


class LastingGroup(process.FastCGIProcessGroup):
    """The processes of an [fcgi-program]."""

    def __init__(self, config: FastCGIGroupConfig):
        manager = functools.partial(LastingSocketManager, config.options)
        super().__init__(config, socketManager=manager)


def main() -> None:
    """Run supervisord with its own command line."""
    process.FastCGIProcessGroup = LastingGroup
    supervisord.main()


if __name__ == "__main__":
    main()
