"""The last errors that clients got: when, which request, which model, what was said.

Owns the list. nginx's log says which requests failed; the texts come from the workers, which know them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import gevent
import gevent.socket

SHOWN = 50
MAX_TEXTS = 500
MAX_DATAGRAM_BYTES = 32 << 10  # a worker's text has 2000 characters, any of which JSON may write with 12
TEXT_OF_THE_MODEL_SERVER = "answered by the model server"
TEXT_OF_NGINX = "answered by nginx"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Failure:
    """One request that was answered with an error status. `time` is Unix time, of whole seconds."""

    time: float
    request_id: str
    model: str
    route: str
    status: int


class RecentErrors:
    """The last SHOWN failures, the newest first, and the texts that the workers gave for them."""

    def __init__(self) -> None:
        self._failures: deque[Failure] = deque(maxlen=SHOWN)
        self._texts: OrderedDict[str, str] = OrderedDict()

    def failed(self, fields: Sequence[bytes]) -> None:
        """Note a line of the log of requests: time, route, model, status, …, request id last."""
        with contextlib.suppress(ValueError, IndexError):
            time, route, model, status = (field.decode("utf-8", "replace") for field in fields[:4])
            request_id = fields[-1].decode("utf-8", "replace")
            seconds = datetime.datetime.fromisoformat(time).timestamp()
            self._failures.append(Failure(seconds, request_id, unquote(model), route, int(status)))

    def explained(self, request_id: str, text: str) -> None:
        """Note what a worker answered."""
        self._texts[request_id] = text
        if len(self._texts) > MAX_TEXTS:
            self._texts.popitem(last=False)

    def document(self) -> list[dict[str, object]]:
        """The failures as JSON-able objects, the newest first."""
        return [
            {**dataclasses.asdict(failure), "text": self._text(failure)}
            for failure in reversed(self._failures)
        ]

    def _text(self, failure: Failure) -> str:
        otherwise = TEXT_OF_THE_MODEL_SERVER if failure.route == "direct" else TEXT_OF_NGINX
        return self._texts.get(failure.request_id, otherwise)


def listen(path: Path, errors: RecentErrors) -> gevent.Greenlet:
    """Take the workers' texts on a datagram socket at `path` for as long as the greenlet runs.

    Workers never wait: what does not fit into the socket's buffer is lost. Raises OSError.
    """
    path.unlink(missing_ok=True)
    listener = gevent.socket.socket(gevent.socket.AF_UNIX, gevent.socket.SOCK_DGRAM)
    listener.bind(str(path))
    return gevent.spawn(_receive, listener, errors)


def _receive(listener: gevent.socket.socket, errors: RecentErrors) -> None:
    while True:
        datagram = listener.recv(MAX_DATAGRAM_BYTES)
        try:
            document = json.loads(datagram)
            errors.explained(str(document["id"]), str(document["text"]))
        except (ValueError, KeyError, TypeError):
            log.warning("A worker sent what is no error: %r.", datagram[:100])
