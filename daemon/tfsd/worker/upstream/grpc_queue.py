"""A gRPC channel that has so many calls under way and no more: the others wait their turn in the worker.

`tensorflow_model_server` gives each call a thread and refuses calls beyond `--grpc_max_threads` ("Server Threadpool
Exhausted") instead of letting them wait. Owns the limit, from which that flag is derived (`stack.model_server_flags`).
Streaming calls, of which PredictionService has none, pass it by.
"""

from __future__ import annotations

from typing import Any

import grpc
from gevent.lock import Semaphore

from tfsd.plan import MAX_GRPC_CALLS


class QueueingChannel(grpc.Channel):
    """Another channel, with at most MAX_GRPC_CALLS unary calls at a time. A call's timeout begins when it is sent."""

    def __init__(self, channel: grpc.Channel, calls: int = MAX_GRPC_CALLS) -> None:
        self._channel = channel
        self._places = Semaphore(calls)

    def unary_unary(self, *arguments: Any, **options: Any) -> grpc.UnaryUnaryMultiCallable:
        return _Queueing(self._channel.unary_unary(*arguments, **options), self._places)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._channel.unary_stream(*arguments, **options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._channel.stream_unary(*arguments, **options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._channel.stream_stream(*arguments, **options)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> QueueingChannel:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class _Queueing(grpc.UnaryUnaryMultiCallable):
    def __init__(self, call: grpc.UnaryUnaryMultiCallable, places: Semaphore) -> None:
        self._call = call
        self._places = places

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._places:
            return self._call(*arguments, **options)

    def with_call(self, *arguments: Any, **options: Any) -> Any:
        with self._places:
            return self._call.with_call(*arguments, **options)

    def future(self, *arguments: Any, **options: Any) -> Any:
        self._places.acquire()
        try:
            future = self._call.future(*arguments, **options)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future
