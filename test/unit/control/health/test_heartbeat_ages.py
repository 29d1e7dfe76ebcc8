"""When a worker counts as alive, and when as hung."""

from __future__ import annotations

import os
from pathlib import Path

from tfsd.control.health.heartbeat_ages import STUCK_MARGIN_SECONDS, Heartbeats, modification_times
from tfsd.control.supervisor_client import Process
from tfsd.run_dir import RunDir
from tfsd.settings import GATEWAY_MARGIN_SECONDS

BOOT = 1_700_000_000


def worker(pid: int = 10, state: str = "RUNNING") -> Process:
    return Process("worker-a", state, pid, BOOT)


def heartbeats() -> Heartbeats:
    """Process 10 was started soon after `BOOT`, 11 when that had ended."""
    return Heartbeats(silence_limit=65, start_limit=300, began={10: BOOT + 0.2, 11: BOOT + 50.2}.get)


def test_a_worker_is_alive_while_it_beats_and_hangs_after_the_limit() -> None:
    beats = heartbeats()
    beats.observe(worker(), BOOT + 2.0, now=100.0)
    beats.observe(worker(), BOOT + 3.0, now=101.0)
    beats.observe(worker(), BOOT + 3.0, now=165.0)  # a handler computes for a minute

    assert beats.alive(worker(), now=166.0)
    assert not beats.hangs(worker(), now=166.0)
    assert beats.hangs(worker(), now=166.1)
    assert not beats.alive(worker(), now=166.1)
    assert beats.silence(worker(), now=166.1) == 166.1 - 101.0


def test_what_an_earlier_process_left_is_no_beat() -> None:
    beats = heartbeats()
    restarted = worker(pid=11)
    beats.observe(worker(), BOOT + 50.199, now=100.0)
    beats.observe(restarted, BOOT + 50.199, now=101.0)

    assert not beats.alive(restarted, now=101.0)

    beats.observe(restarted, BOOT + 52.0, now=102.0)
    assert beats.alive(restarted, now=102.0)


def test_a_worker_that_hangs_after_a_single_beat_hangs_after_the_limit_of_all() -> None:
    """Its first request may be what it hangs in, before control has looked."""
    beats = heartbeats()
    beats.observe(worker(), BOOT + 0.95, now=100.0)  # in the second of its start

    assert beats.alive(worker(), now=100.0)
    assert beats.hangs(worker(), now=165.1)


def test_a_process_that_has_ended_meanwhile_has_not_beaten() -> None:
    beats = heartbeats()
    beats.observe(worker(pid=12), BOOT + 60.0, now=100.0)

    assert not beats.alive(worker(pid=12), now=100.0)


def test_a_worker_that_imports_user_code_has_the_time_of_a_load() -> None:
    beats = heartbeats()
    beats.observe(worker(), None, now=100.0)

    assert not beats.alive(worker(), now=200.0)
    assert not beats.hangs(worker(), now=400.0)
    assert beats.hangs(worker(), now=400.1)


def test_setting_the_clock_makes_nobody_hang() -> None:
    beats = heartbeats()
    beats.observe(worker(), BOOT + 5.0, now=100.0)
    beats.observe(worker(), BOOT - 1e6, now=101.0)

    assert beats.alive(worker(), now=101.5)


def test_control_that_was_restarted_knows_a_beating_worker_at_once() -> None:
    beats = heartbeats()
    beats.observe(worker(), BOOT + 1000.0, now=0.5)

    assert beats.alive(worker(), now=0.5)


def test_a_process_that_does_not_run_neither_lives_nor_hangs() -> None:
    beats = heartbeats()
    beats.observe(worker(), BOOT + 2.0, now=100.0)

    assert not beats.alive(worker(state="STOPPING"), now=100.0)
    assert not beats.hangs(worker(state="STOPPING"), now=1000.0)
    assert not beats.alive(worker(pid=12), now=100.0)


def test_nginx_answers_504_before_a_hung_worker_is_killed() -> None:
    assert STUCK_MARGIN_SECONDS > GATEWAY_MARGIN_SECONDS


def test_heartbeats_are_read_from_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "heartbeats").mkdir()
    (tmp_path / "heartbeats" / "worker-a").touch()
    os.utime(tmp_path / "heartbeats" / "worker-a", (5.0, 7.5))

    assert modification_times(RunDir(tmp_path), ["worker-a", "worker-b"]) == {
        "worker-a": 7.5,
        "worker-b": None,
    }
