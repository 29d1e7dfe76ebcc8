"""The systemd unit of the documentation, by systemd's own judgement; test_start_as starts what it starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.systemd_unit import service, unit_text
from tfsd.settings import Settings


def verify(unit: Path) -> tuple[int, list[str]]:
    """Exit status of `systemd-analyze verify`, and what it says of the unit."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    return done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_takes_it(tmp_path: Path) -> None:
    unit = tmp_path / "tfsd.service"
    command = service()["ExecStart"]
    text = unit_text().replace(command, sys.executable)  # there is no /opt/tfsd here
    unit.write_text(text)
    assert verify(unit) == (0, [])
    unit.write_text(text.replace("KillMode=mixed", "KillMode=mixture"))
    assert verify(unit)[1]  # it does look


def test_it_gives_the_time_that_a_stop_may_take() -> None:
    assert float(service()["TimeoutStopSec"]) == Settings.from_environ({}, cpus=1).stop_time


def test_it_starts_what_the_package_installs() -> None:
    assert service()["ExecStart"] == "/opt/tfsd/.venv/bin/serve"
    setup = (Path(__file__).parents[2] / "setup.py").read_text()
    assert '"serve = tfsd.start.serve:main"' in setup
