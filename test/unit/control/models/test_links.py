"""Links that follow the plan, and the wait for requests that nginx counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.pywsgi import WSGIServer
from gevent.socket import AF_UNIX, socket

from tfsd.control.models.links import Links
from tfsd.plan import DEFAULT_POOL, Model, ModelServer, Plan, Pool
from tfsd.run_dir import RunDir

POOLS = {DEFAULT_POOL: Pool(DEFAULT_POOL, "python", ())}
SLOTS = ((1,), (2,))


def plan(**rest_ports: int) -> Plan:
    models = {
        name: Model(name, "/", (1,), (ModelServer(f"model-{name}", port, 9),))
        for name, port in rest_ports.items()
    }
    return Plan(models, POOLS, slots=SLOTS)


@pytest.fixture
def run_dir(short_dir: Path) -> RunDir:
    run_dir = RunDir(short_dir)
    run_dir.make(multi_model=True)
    return run_dir


def resolved(run_dir: RunDir) -> dict[str, str]:
    return {path.name: path.resolve(strict=True).name for path in run_dir.links.iterdir()}


def test_links_are_those_of_the_plan_whatever_was_there(run_dir: RunDir) -> None:
    links = Links(run_dir)
    links.follow(plan(a=1, b=2, elsewhere=3))
    assert resolved(run_dir) == {"a": "slot_0", "b": "slot_1"}
    run_dir.link("junk").symlink_to("../slots/slot_0")
    run_dir.link(".partial").symlink_to("nowhere")

    Links(run_dir).follow(plan(b=1, c=2))

    assert resolved(run_dir) == {"b": "slot_0", "c": "slot_1"}
    links.follow(plan())
    assert resolved(run_dir) == {}


def test_a_link_that_cannot_be_made_stops_nobody(run_dir: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    run_dir.link("a").mkdir()
    with pytest.raises(OSError, match="a"):
        Links(run_dir).follow(plan())
    run_dir.link("a").rmdir()
    run_dir.link(".partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        Links(run_dir).follow(plan(a=1))


def test_there_is_nothing_to_do_without_slots(tmp_path: Path) -> None:
    Links(RunDir(tmp_path)).follow(Plan({}, {}))
    assert os.listdir(tmp_path) == []


class NginxStub:
    """Says on nginx's socket that something is in flight, `busy` times."""

    def __init__(self, run_dir: RunDir) -> None:
        self.busy = 0
        self.paths: list[str] = []
        listener = socket(AF_UNIX)
        listener.bind(str(run_dir.nginx_socket))
        listener.listen()
        self.server = WSGIServer(listener, self.answer, log=None)

    def answer(self, environ: dict[str, str], start_response: object) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        self.busy -= 1
        start_response("429 Busy" if self.busy >= 0 else "204 None", [])  # type: ignore[operator]
        return []


@pytest.fixture
def nginx(run_dir: RunDir) -> Iterator[NginxStub]:
    stub = NginxStub(run_dir)
    stub.server.start()
    yield stub
    stub.server.stop()


def test_nginx_is_asked_until_it_counts_nothing(run_dir: RunDir, nginx: NginxStub) -> None:
    nginx.busy = 2
    assert Links(run_dir).wait_until_idle("m", plan(), 60)
    assert nginx.paths == ["/m"] * 3


def test_the_limit_ends_the_wait(run_dir: RunDir, nginx: NginxStub) -> None:
    nginx.busy = 10**6
    assert not Links(run_dir).wait_until_idle("m", plan(), 0.1)


def test_nginx_that_is_being_restarted_is_waited_for(run_dir: RunDir) -> None:
    waiting = gevent.spawn(Links(run_dir).wait_until_idle, "m", plan(), 60)
    gevent.sleep(0.1)
    assert not waiting.ready()
    stub = NginxStub(run_dir)
    stub.server.start()
    assert waiting.get(timeout=60)
    stub.server.stop()


def test_who_never_had_a_link_is_not_asked_about(run_dir: RunDir) -> None:
    assert Links(run_dir).wait_until_idle("a b", plan(), 0)
    assert Links(run_dir).wait_until_idle("m", Plan({}, {}), 0)
