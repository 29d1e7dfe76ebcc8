"""A worker's heartbeat: its file's time, and what stands in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tfsd.run_dir import RunDir
from tfsd.worker.lifecycle import Heartbeat


def test_a_content_that_cannot_be_written_does_not_stop_the_heartbeat(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.heartbeats.mkdir()
    report: dict[str, object] = {"plan": 1}
    heartbeat = Heartbeat(run_dir, "w", lambda: report)
    heartbeat.beat()
    in_the_way = run_dir.heartbeats / ".w.partial"
    in_the_way.mkdir()
    report["plan"] = 2
    for _ in range(2):
        os.utime(heartbeat.path, (5, 5))
        with pytest.raises(OSError, match="partial"):
            heartbeat.beat()
        assert heartbeat.path.stat().st_mtime > 5
    assert json.loads(heartbeat.path.read_text()) == {"plan": 1}

    in_the_way.rmdir()
    heartbeat.beat()
    assert json.loads(heartbeat.path.read_text()) == {"plan": 2}


def test_a_beat_without_news_writes_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.heartbeats.mkdir()
    heartbeat = Heartbeat(run_dir, "w", lambda: {"plan": 1})
    heartbeat.beat()
    before = heartbeat.path.stat()
    os.utime(heartbeat.path, (5, 5))
    heartbeat.beat()
    after = heartbeat.path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime >= before.st_mtime
