"""The proxy that the environment names (`http_proxy`), which is for other machines. Standard library only."""

from __future__ import annotations

from collections.abc import MutableMapping

THIS_MACHINE = ("localhost", "127.0.0.1")
NAMES = ("no_proxy", "NO_PROXY")  # of those who look for one name only, each looks for another


def pass_by(environ: MutableMapping[str, str], *hosts: str) -> None:
    """Have this process, and what it starts, reach this machine and `hosts` without a proxy."""
    named = next((environ[name] for name in NAMES if environ.get(name)), "")
    listed = [host.strip() for host in named.split(",") if host.strip()]
    added = [host for host in dict.fromkeys((*THIS_MACHINE, *hosts)) if host not in listed]
    for name in NAMES:
        environ[name] = ",".join([*listed, *added])
