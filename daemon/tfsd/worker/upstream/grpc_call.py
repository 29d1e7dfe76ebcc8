"""What a caller holds of a unary call: an ended one, a failed one (which is raised), one that is under way.

They are what gRPC's own channel gives: `grpc.Call` and `grpc.Future`. Knows nothing of connections.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent
import grpc
from gevent.event import Event

from tfsd.worker.upstream import http2
from tfsd.worker.upstream.grpc_answer import Answer

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

log = logging.getLogger(__name__)


class EndedCall(grpc.Call, grpc.Future):
    """A call that has ended, with its response."""

    def __init__(self, answer: Answer, response: Any = None) -> None:
        self._answer = answer
        self._response = response

    def initial_metadata(self) -> tuple[http2.Metadatum, ...]:
        return self._answer.initial or ()

    def trailing_metadata(self) -> tuple[http2.Metadatum, ...]:
        return self._answer.trailing

    def code(self) -> grpc.StatusCode:
        return CODES.get(self._answer.status or 0, grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        return self._answer.details

    def debug_error_string(self) -> str:
        return f"{self.code().name}: {self._answer.details}"

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        return self._response

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return None

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)


class CallFailed(EndedCall, grpc.RpcError):
    """A call that ended in a status which is not OK."""

    def __init__(self, answer: Answer) -> None:
        EndedCall.__init__(self, answer)
        grpc.RpcError.__init__(self, answer.details)

    def __str__(self) -> str:
        return f'<call that failed: status = {self.code()}, details = "{self.details()}">'

    __repr__ = __str__

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return self.__traceback__


def failure(status: int, details: str) -> CallFailed:
    """A failure of our own making."""
    answer = Answer()
    answer.end(status, details)
    return CallFailed(answer)


class PendingCall(grpc.Call, grpc.Future):
    """A call that is under way in a greenlet of its own.

    `call` does it: returns the ended call, or raises it (CallFailed). `deadline` is on the clock of time.monotonic().
    """

    def __init__(self, call: Callable[[], EndedCall], deadline: float | None) -> None:
        self._call = call
        self._deadline = deadline
        self._ended: EndedCall | None = None
        self._cancelled = False
        self._end = Event()
        self._callbacks: list[Callable[[], None]] = []
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            ended = self._call()
        except CallFailed as failed:
            ended = failed
        except Exception as error:
            ended = failure(http2.UNKNOWN, f"{type(error).__name__}: {error}")
        self._finish(ended)

    def _finish(self, ended: EndedCall) -> None:
        if self._ended is not None:
            return
        self._ended = ended
        self._end.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.exception("A callback of a gRPC call failed.")

    def _wait(self, timeout: float | None = None) -> EndedCall:
        self._end.wait(timeout)
        if self._ended is None:
            raise grpc.FutureTimeoutError
        return self._ended

    def cancel(self) -> bool:
        if self._ended is not None:
            return False
        self._cancelled = True
        self._finish(failure(http2.CANCELLED, "Locally cancelled by application!"))
        self._greenlet.kill(block=False)
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def running(self) -> bool:
        return self._ended is None

    def done(self) -> bool:
        return self._ended is not None

    def result(self, timeout: float | None = None) -> Any:
        ended = self._wait(timeout)
        if self._cancelled:
            raise grpc.FutureCancelledError
        return ended.result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        ended = self._wait(timeout)
        if self._cancelled:
            raise grpc.FutureCancelledError
        return ended.exception()

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        ended = self._wait(timeout)
        if self._cancelled:
            raise grpc.FutureCancelledError
        return ended.traceback()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self._ended is not None:
            return False
        self._callbacks.append(callback)
        return True

    def is_active(self) -> bool:
        return self._ended is None

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def initial_metadata(self) -> tuple[http2.Metadatum, ...]:
        return self._wait().initial_metadata()

    def trailing_metadata(self) -> tuple[http2.Metadatum, ...]:
        return self._wait().trailing_metadata()

    def code(self) -> grpc.StatusCode:
        return self._wait().code()

    def details(self) -> str:
        return self._wait().details()
