"""Request targets, as libevent's strict URI parser splits them (RFC 3986). Never decodes percent signs."""

from __future__ import annotations

import re

_UNRESERVED = r"A-Za-z0-9\-._~!$&'()*+,;="
_PERCENT = r"%[0-9A-Fa-f]{2}"
# Each run of characters is taken as a whole: an illegal one must not make the match try every split. Only runs are: in
# Python before 3.11.5 a group that is repeated possessively passes a percent sign that is wrong.
_SEGMENTS = rf"(?:[{_UNRESERVED}:@/]++|{_PERCENT})*"
_QUERY = rf"(?:[{_UNRESERVED}:@/?]++|{_PERCENT})*"
_AUTHORITY = (
    rf"(?:(?:[{_UNRESERVED}:]++|{_PERCENT})*@)?"
    rf"(?:\[[0-9A-Fa-fv:.]+\]|(?:[{_UNRESERVED}]++|{_PERCENT})*)(?::(?P<port>[0-9]*))?"
)
_URI = re.compile(
    rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?(?://{_AUTHORITY}(?=[/?#]|$))?"
    rf"(?P<path>{_SEGMENTS})(?P<rest>(?:\?{_QUERY})?(?:#{_QUERY})?)"
)
_MAX_PORT = 65535


def split_target(target: str) -> tuple[str, str] | None:
    """The path of a request target, and the path with its query and fragment; None if it is no URI.

    The target may be absolute (`http://host/path`) or begin with an authority (`//host/path`).
    """
    match = _URI.fullmatch(target)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return None
    path = match["path"]
    if path.startswith("//") or (match["scheme"] is None and ":" in path.partition("/")[0]):
        return None
    return path, path + match["rest"]
