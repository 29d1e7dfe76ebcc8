"""In processes of their own: here `requests` is imported already."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import sys
from tfsd.worker.upstream import requests_import
from tfsd.worker.upstream.client import ModelServers
from tfsd.worker.modes import HandlerPair

requests_import.install(ModelServers({}), 60)
assert "requests" not in sys.modules
"""
PAIR = 'HandlerPair(print, print, "application/json")\n'
OURS = """
import requests
assert requests.request.__module__ == "tfsd.worker.upstream.requests_patch", requests.request
"""


@pytest.mark.parametrize("rest", [PAIR + OURS, OURS + PAIR], ids=["pair first", "requests first"])
def test_requests_is_patched_whoever_imports_it(rest: str) -> None:
    subprocess.run([sys.executable, "-c", BEGIN + rest], check=True)
