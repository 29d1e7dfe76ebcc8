"""gevent's patches: all that is installed is looked at once, and plugins are called as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLUGIN = """
steps = []

def note(event):
    steps.append(type(event).__name__)
"""
PROGRAM = """
import importlib.metadata, json, sys

sys.path.insert(0, sys.argv[1])
scans = 0
distributions, entry_points = importlib.metadata.distributions, importlib.metadata.entry_points

def count(**context):
    global scans
    scans += 1
    return distributions(**context)

importlib.metadata.distributions = count
from tfsd.cooperative import patch_all

patch_all()
import socket, gevent.socket, plugin

print(json.dumps({
    "scans": scans,
    "steps": plugin.steps,
    "restored": importlib.metadata.entry_points is entry_points,
    "patched": socket.socket is gevent.socket.socket,
}))
"""


def test_plugins_are_looked_for_once_and_called(tmp_path: Path) -> None:
    """A process of its own: nothing takes gevent's patches back."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    groups = ("will_patch_all", "did_patch_all")
    (metadata / "entry_points.txt").write_text(
        "".join(f"[gevent.plugins.monkey.{group}]\nnote = plugin:note\n" for group in groups)
    )

    found = json.loads(subprocess.check_output([sys.executable, "-c", PROGRAM, str(tmp_path)]))

    assert found == {
        "scans": 1,
        "steps": ["GeventWillPatchAllEvent", "GeventDidPatchAllEvent"],
        "restored": True,
        "patched": True,
    }
