"""Work on many records that lets everything else in this process have its turn: requests, other jobs, pings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import gevent

T = TypeVar("T")
TURN_RECORDS = 1024


def in_turns(items: Iterable[T], pause: Callable[[], object] = gevent.sleep) -> Iterator[T]:
    """The items, with a pause after every thousand or so."""
    for number, item in enumerate(items, 1):
        yield item
        if number % TURN_RECORDS == 0:
            pause()
