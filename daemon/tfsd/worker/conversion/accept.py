"""Choosing a response's content type from the request's Accept header.

Owns the header's grammar and preference order (RFC 9110, section 12.5.1). What can be produced is told by
the caller.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tfsd.errors import HttpError


class NotAcceptable(HttpError):
    """406: an answer that cannot be given in the form that was asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(406, message)


_QUALITY = re.compile(r";[ \t]*q[ \t]*=[ \t]*([01](?:\.[0-9]*)?)[ \t]*(?:;|$)", re.IGNORECASE).search


class _Range(NamedTuple):
    """One member of an Accept header: a media range, its q value and where it stands in the list."""

    name: str
    quality: float
    position: int

    def specificity(self, media_type: str) -> int:
        """3 if the range is `media_type`, 2 for `type/*`, 1 for `*/*`, 0 if it does not match."""
        if self.name == media_type:
            return 3
        if self.name.endswith("/*") and media_type.startswith(self.name[:-1]):
            return 2
        return 1 if self.name in ("*/*", "*") else 0


def choose(accept: str | None, offered: Sequence[str], default: str) -> str:
    """Return the media type of `offered` that `accept` prefers, see `acceptable`; the first one for an Accept
    that names nothing which is offered. Never raises.
    """
    return acceptable(accept, offered, default) or offered[0]


def acceptable(accept: str | None, offered: Sequence[str], default: str) -> str | None:
    """Return the media type of `offered` that `accept` prefers, None if it accepts none of them.

    The highest q value wins; then a type that is named over one matched by a wildcard, the earlier in the
    header, and `default` over the others. Parameters other than q are ignored, a q that cannot be read is 1.
    No header gives `default`. Never raises.
    """
    if not accept or accept == "*/*":
        return default
    if accept in offered:
        return accept
    ranges = [_range(member, position) for position, member in enumerate(accept.split(","))]
    best, best_rank = None, (0.0, 0, 0, False)
    for media_type in offered:
        deciding = max(ranges, key=lambda member: (member.specificity(media_type), member.quality))
        specificity = deciding.specificity(media_type)
        if not specificity or not deciding.quality:
            continue
        rank = (deciding.quality, specificity, -deciding.position, media_type == default)
        if best is None or rank > best_rank:
            best, best_rank = media_type, rank
    return best


def _range(member: str, position: int) -> _Range:
    quality = _QUALITY(member)
    name = member.partition(";")[0].strip().lower()
    return _Range(name, min(float(quality[1]), 1.0) if quality else 1.0, position)
