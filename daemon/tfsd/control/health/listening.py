"""Which TCP ports of this machine are listened on, by the kernel's own tables."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

LISTEN = "0A"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening() -> dict[int, set[Address]]:
    """The addresses that are listened on, by port; nothing where the kernel has no such tables."""
    found: dict[int, set[Address]] = defaultdict(set)
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            if f" {LISTEN} " in line:  # few of them do: the others are not taken apart
                _, local, _, state, *_ = line.split()
                if state == LISTEN:
                    address, _, port = local.partition(":")
                    found[int(port, 16)].add(_address(address))
    return found


def listens_at(path: str) -> bool:
    """Whether a process listens on the unix socket at a path."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # somebody does, and has much to do
            return True
        except OSError:
            return False
        return True


@lru_cache(maxsize=64)
def _address(digits: str) -> Address:
    """The kernel writes an address as words of 32 bits, each in the machine's byte order."""
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
