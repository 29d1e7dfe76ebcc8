"""The Open Inference Protocol's own clients, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from support import client_environments
from support.models import RESOURCES

CLIENTS = RESOURCES / "v2"


def run(script: str, address: str) -> Any:
    """What a client's script prints about an endpoint. Skips where the clients cannot be installed."""
    programs = client_environments.programs("clients", CLIENTS / "requirements.txt", "--no-deps")
    command = [str(programs / "python"), str(CLIENTS / script), address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
