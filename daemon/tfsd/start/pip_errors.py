"""What pip's output means for whoever reads it: one line that says what to do. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

NO_NETWORK = re.compile(
    r"Failed to establish a new connection|Temporary failure in name resolution|Name or service not known|"
    r"Network is unreachable|Connection refused|ConnectTimeout|Read ?[Tt]imed ?out|ProxyError|Could not resolve"
)
BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError")
NO_DISK = re.compile(r"No space left on device|Disk quota exceeded")
DENIED = re.compile(r"Permission denied: '([^']+)'|Read-only file system: '([^']+)'")
ERROR = re.compile(r"(?:ERROR|error): (.+)")
CONFLICT = re.compile(r"The conflict is caused by")
MEDDLED = re.compile(r"DO NOT MATCH THE HASHES.*?\n\s*(\S+==[^\s;]+)", re.DOTALL)
MISSING = re.compile(r"No matching distribution found for (.+)")


def disk_is_full(lines: Sequence[str]) -> bool:
    """Whether a pip that printed this had no room on a disk."""
    return any(map(NO_DISK.search, lines))


def explained(lines: Sequence[str]) -> str:
    """One line about a pip that failed, from what it printed; empty when it said nothing of use."""
    text = "\n".join(lines)
    if disk_is_full(lines):
        return "The disk is full: make room, or set TMPDIR to a directory on another one, and try again."
    if BAD_CERTIFICATE.search(text):
        return (
            "The package index's certificate is not trusted: name your proxy's with PIP_CERT, and try again."
        )
    if NO_NETWORK.search(text):
        return (
            "The package index cannot be reached: look at the network, or name a proxy with HTTPS_PROXY or an index "
            "with PIP_INDEX_URL, and try again."
        )
    if denied := DENIED.search(text):
        return f"{denied[1] or denied[2]} cannot be written: look at its permissions, and try again."
    if meddled := MEDDLED.search(text):
        return (
            f"The package index gives another file of {meddled[1]} than the one that was locked: do not trust it "
            "before you know why; name another index with PIP_INDEX_URL, and try again."
        )
    if missing := MISSING.search(text):
        return f"The package index has no {missing[1].strip()} for this Python and machine."
    if CONFLICT.search(text):
        return _conflict(lines)
    errors = [found[1] for line in lines if (found := ERROR.search(line))]
    return f"pip fails: {errors[0].rstrip('.')}." if errors else ""


def _conflict(lines: Sequence[str]) -> str:
    """The requirements that exclude each other, as pip lists them under its heading."""
    start = next(index for index, line in enumerate(lines) if CONFLICT.search(line))
    listed = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        listed.append(line.strip())
    return "These requirements exclude each other: " + "; ".join(listed) + "."
