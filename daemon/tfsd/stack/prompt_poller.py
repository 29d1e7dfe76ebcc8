"""What supervisord waits with: it wakes when a child ends or a signal comes.

supervisor's own waits for a second at most, since nothing wakes it: Python goes on waiting after a signal (PEP 475). So
a signal to stop, each end of a process that it then stops, and the restart of one that was killed take up to a second
more. While a client waits until a process has stopped it does not wait at all, but takes a whole CPU, until it has.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from supervisor import poller, xmlrpc

ASK_SECONDS = 0.05  # between two looks at whether what a client waits for has come
READ_BYTES = 4096


class PromptPoller(poller.Poller):
    """supervisor's poller, woken by signals.

    `options` are supervisor's; its sockets may be `deferring_http_channel`s, whose `delay` in seconds is not 0 while
    their clients wait.
    """

    def initialize(self) -> None:
        super().initialize()
        self._pipe: tuple[int, int] | None = None
        self._at_once = False

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """What can be read and what can be written, after `timeout` seconds at most.

        Once a signal has come the next poll does not wait: what it has changed, such as a process that has ended, is
        only now looked at, and acted upon in the loop's next round.
        """
        woken = self._wakes()
        if self._at_once:
            timeout = 0
        elif any(getattr(each, "delay", 0) for each in self.options.get_socket_map().values()):
            timeout = min(timeout, ASK_SECONDS)
        readable, writable = super().poll(timeout)
        self._at_once = woken in readable
        if self._at_once:
            readable.remove(woken)
            with contextlib.suppress(BlockingIOError):
                while os.read(woken, READ_BYTES):
                    pass
        return readable, writable

    def close(self) -> None:
        if self._pipe:
            signal.set_wakeup_fd(-1)
            for descriptor in self._pipe:
                os.close(descriptor)
        super().close()

    def _wakes(self) -> int:
        """What can be read once a signal has come. supervisord closes what it finds open when it begins."""
        if self._pipe is None:
            self._pipe = os.pipe()
            for descriptor in self._pipe:
                os.set_blocking(descriptor, False)
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self.register_readable(self._pipe[0])
        return self._pipe[0]


class PatientResponse(xmlrpc.DeferredXMLRPCResponse):
    """supervisor's answer to a client that waits: it asks ever and again, but never without a pause."""

    def __init__(self, request: Any, callback: Any):
        super().__init__(request, callback)
        self.delay: float = max(float(callback.delay), ASK_SECONDS)
