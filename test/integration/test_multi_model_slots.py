"""Models without code behind slots of nginx: the way that requests take; no slot is read as another model's."""

from __future__ import annotations

import collections
import http.client
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from support.load import Load
from support.models import built_models
from support.multi_model import MultiModelStack, StartMultiModelStack
from support.nginx_choice import environ_for

HANDLER = "def handler(data, context):\n    return 'coded', 'text/plain'\n"
PASSES_ON = """
import requests

def handler(data, context):
    return requests.post(context.rest_uri, data=data.read()).content, "application/json"
"""
BODY = '{"instances": [1.0]}'
ATTRIBUTES = "X_Amzn_SageMaker_Custom_Attributes"
OLD, NEW = b"2.5", b"3.5"  # what half_plus_two answers to BODY in versions 123 and 124


@pytest.fixture(scope="module")
def one_slot(start_multi_model: StartMultiModelStack) -> MultiModelStack:
    stack = start_multi_model(SAGEMAKER_TFS_MODEL_SLOTS="1", SAGEMAKER_MODEL_SERVER_WORKERS="2")
    stack.wait_for((stack.run_dir / "healthy").exists, 30, "seen healthy")
    return stack


@pytest.fixture
def stack(one_slot: MultiModelStack) -> Iterator[MultiModelStack]:
    """With one slot and, before and after, no model."""
    before = one_slot.traces()
    yield one_slot
    for name in one_slot.names():
        assert one_slot.unload(name).status_code == 200
    assert one_slot.traces() == before


def lay(stack: MultiModelStack, models: Path, place: str, versions: tuple[str, ...], coded: bool) -> str:
    """Lay half_plus_two in some of its versions; returns its url."""
    url = stack.lay(place, models / "half_plus_two", PASSES_ON if coded else None)
    for version in (Path(url) / "half_plus_two").iterdir():
        if version.name.lstrip("0") not in versions:
            version.rename(stack.models_dir / f"{place}-{version.name}")
    return url


def route_of(stack: MultiModelStack, name: str, body: str = BODY, **headers: str) -> str:
    """The route of an invocation as nginx logs it; it must be answered with 200."""
    answer = stack.ask(name, body, **headers)
    assert answer.status_code == 200, answer.text
    mark = f"id={answer.headers['X-Request-Id']} "
    lines: list[str] = []

    def logged() -> bool:
        lines[:] = [line for line in stack.log_text().splitlines() if mark in line]
        return bool(lines)

    stack.wait_for(logged, 20, "logged")
    [line] = lines
    assert f"model={name} " in line
    return line.partition("route=")[2].split()[0]


def test_what_certainly_needs_no_worker_goes_straight_to_the_model_server(
    stack: MultiModelStack, models: Path
) -> None:
    stack.loaded("m", stack.lay("straight", models / "half_plus_two"))

    assert route_of(stack, "m") == "direct"
    assert route_of(stack, "m", "1.0,2.0\n", Content_Type="text/csv") == "direct"
    assert route_of(stack, "m", "1.0\n2.0\n", Content_Type="text/csv") == "direct"
    assert route_of(stack, "m", "[1.0]\n", Content_Type="application/jsonlines") == "direct"
    assert route_of(stack, "m", **{ATTRIBUTES: "tfs-model-version=123,tfs-method=predict"}) == "direct"
    assert route_of(stack, "m", **{ATTRIBUTES: "tfs-model-name=other"}) == "worker"
    assert route_of(stack, "m", "[1.0]") == "worker"
    assert route_of(stack, "m", Accept="text/csv") == "worker"
    assert stack.ask("m", **{ATTRIBUTES: "tfs-model-version=123"}).json() == {"predictions": [2.5]}
    missing = stack.ask("m", **{ATTRIBUTES: "tfs-model-version=7"})
    assert (missing.status_code, "no version 7; versions here: 123, 124" in missing.json()["error"]) == (
        404,
        True,
    )
    refused = stack.ask("m", '{"instances": ["x"]}')
    assert (refused.status_code, bool(refused.json()["error"])) == (400, True)

    def counted() -> bool:
        return 'tfsd_requests_total{model="m",route="direct",status="200"}' in metrics(stack)

    stack.wait_for(counted, 20, "counted")


def metrics(stack: MultiModelStack) -> str:
    return requests.get(stack.url("/metrics"), timeout=10).text


def test_who_has_no_slot_is_served_through_a_worker(stack: MultiModelStack, models: Path) -> None:
    """With code there is none; the only slot is the first other model's, and the next one's when that is gone."""
    urls = {name: stack.lay(f"served/{name}", models / "half_plus_two") for name in ("first", "second")}
    stack.loaded("coded", stack.lay("served/coded", models / "half_plus_two", HANDLER))
    for name, url in urls.items():
        stack.loaded(name, url)
    assert [route_of(stack, name) for name in ("coded", "first", "second")] == ["worker", "direct", "worker"]

    stack.loaded("beyond", stack.lay("served/beyond", models / "half_plus_two", HANDLER))
    pools = stack.plan().pools
    sockets = {name: {worker.socket for worker in pools[name].workers} for name in ("coded", "beyond")}
    assert [len(each) for each in sockets.values()] == [len(pools["coded"].workers), 1]
    assert [stack.ask(name).text for name in sockets] == ["coded"] * 2

    stack.unload("first")
    stack.unload("second")
    stack.loaded("second", urls["second"])
    assert route_of(stack, "second") == "direct"


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("x" * 200, "direct"),
        ("-_.", "direct"),
        ("x" * 201, "worker"),
        (".hidden", "worker"),
        ("...", "worker"),
    ],
    ids=["long", "plain", "longer", "hidden", "dots"],
)
def test_names_that_a_link_may_have(stack: MultiModelStack, models: Path, name: str, route: str) -> None:
    stack.loaded(name, stack.lay(f"named{len(name)}{name[:3]}", models / "half_plus_two"))
    assert route_of(stack, name) == route


def test_no_path_leads_around_the_names(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("m", stack.lay("around", models / "half_plus_two"))
    for path in ("..", ".", "%2e%2e", "..%2fslots", "%6d", ".none", "", "m%00", "slot_0"):
        with requests.Session() as session:
            request = requests.Request(
                "POST", stack.url("/"), data=BODY, headers={"Content-Type": "application/json"}
            )
            prepared = session.prepare_request(request)
            prepared.url = stack.url(f"/models/{path}/invoke")
            answer = session.send(prepared, timeout=20)
        if path == "%6d":  # m, as nobody would write it
            assert answer.json() == {"predictions": [3.5]}
        else:
            assert answer.status_code in (400, 404, 405), f"{path}: {answer.text}"
            assert "error" in answer.json(), f"{path}: {answer.text}"


@pytest.mark.parametrize("coded", [False, True], ids=["servers", "workers"])
def test_a_slot_that_changes_hands_under_load_answers_for_nobody_else(
    stack: MultiModelStack, models: Path, coded: bool
) -> None:
    """Three models in turn, one of them with other contents each time, have the only slot."""
    place, route, kind = ("own", "worker", "pool_0") if coded else ("hands", "direct", "slot_0")
    urls = {
        ("a", OLD): lay(stack, models, f"{place}/old", ("123",), coded),
        ("a", NEW): lay(stack, models, f"{place}/new", ("124",), coded),
        ("b", OLD): lay(stack, models, f"{place}/b", ("123",), coded),
    }
    right: dict[str, bytes | None] = {"a": None, "b": None}
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    stopped = threading.Event()

    def ask(name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
        while not stopped.wait(0.02):
            before = right[name]
            connection.request("POST", f"/models/{name}/invoke", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            after = right[name]
            found = content if answer.status == 200 else b"404" if answer.status == 404 else b"?"
            expected = {OLD: OLD, NEW: NEW, None: b"404"}
            if before == after == b"changing" or before != after:
                verdict = "either" if found == b"404" or OLD in found or NEW in found else "wrong"
            elif before == b"changing":
                verdict = "either"
            else:
                verdict = "right" if expected[before] in found else "wrong"
            outcomes[
                name, verdict if verdict != "wrong" else f"{before!r} {answer.status} {content[:80]!r}"
            ] += 1

    threads = [threading.Thread(target=ask, args=(name,)) for name in "aabb"]
    for thread in threads:
        thread.start()
    try:
        for name, content in itertools.islice(itertools.cycle(urls), 7):
            right[name] = b"changing"
            stack.loaded(name, urls[name, content])
            right[name] = content
            stack.wait_for(lambda name=name: route_of(stack, name) == route, 20, route)
            link = stack.run_dir / ("pools" if coded else "links") / name
            assert link.resolve().name == kind
            seen = outcomes[name, "right"]
            stack.wait_for(lambda name=name, seen=seen: outcomes[name, "right"] > seen + 20, 60, "asked")
            right[name] = b"changing"
            assert stack.unload(name).status_code == 200
            right[name] = None
            seen = outcomes[name, "right"]
            stack.wait_for(lambda name=name, seen=seen: outcomes[name, "right"] > seen + 5, 60, "asked")
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert {verdict for _, verdict in outcomes} <= {"right", "either"}, outcomes


def test_a_request_at_the_model_server_is_finished_before_the_model_goes(
    stack: MultiModelStack, models: Path
) -> None:
    """The model server is stopped, so that the request is in flight for as long as the test wants."""
    stack.loaded("m", stack.lay("finished", models / "half_plus_two"))
    assert route_of(stack, "m") == "direct"
    server = stack.serving_pid(stack.plan().models["m"].servers[0])
    os.kill(server, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        try:
            asked = pool.submit(
                requests.post, stack.invoke_url("m"), BODY, headers={"Content-Type": "application/json"}
            )
            stack.wait_for(lambda: in_flight(stack, "m"), 20, "in flight")
            unloading = pool.submit(stack.unload, "m")
            stack.wait_for(lambda: stack.get("m").status_code == 404, 20, "on its way out")
            assert stack.ask("m").status_code == 404
            time.sleep(0.5)  # no condition to wait for: nothing is to happen
            assert not unloading.done()
        finally:
            os.kill(server, signal.SIGCONT)
        assert asked.result().json() == {"predictions": [3.5]}
        assert unloading.result().status_code == 200
    assert stack.ask("m").status_code == 404


def in_flight(stack: MultiModelStack, name: str) -> bool:
    """What control asks nginx."""
    from tfsd.control.connections import UnixConnection, fetch

    return fetch(UnixConnection(stack.run_dir / "nginx.sock", 5), f"/{name}")[0] != 204


def test_killing_a_model_server_or_control_loses_no_request(stack: MultiModelStack) -> None:
    # whose calls take 100 ms, and no CPU
    stack.loaded("m", stack.lay("killing", built_models("tuner") / "waiting"))
    with Load(stack.invoke_url("m"), BODY, clients=4) as load:
        for program in ("control", "model-m"):
            before = stack.kill(program)
            stack.wait_for(lambda: stack.pid(program) not in (0, before), 30, f"restarted: {program}")  # noqa: B023
            load.wait_for_more()
            if program == "control":
                (stack.run_dir / "links" / "junk").symlink_to("../slots/slot_0")
                (stack.run_dir / "links" / "m").unlink()
                stack.kill(program)
                stack.wait_for((stack.run_dir / "links" / "m").is_symlink, 30, "made again")
                assert not (stack.run_dir / "links" / "junk").is_symlink()
            stack.wait_for(lambda: route_of(stack, "m") == "direct", 30, "direct again")
    assert set(load.outcomes) <= {200, 503}, load.failures[:5]
    assert all("No model server of 'm' answered" in text for text in load.failures), load.failures
    kill_nginx = stack.kill("nginx")  # its socket stays behind
    stack.wait_for(lambda: stack.pid("nginx") not in (0, kill_nginx), 30, "nginx is restarted")
    assert stack.ask("m").status_code == 200
    assert stack.unload("m").status_code == 200


def test_a_server_without_its_port_gives_its_slot_up(
    start_multi_model: StartMultiModelStack, models: Path
) -> None:
    """Two instances of each model, and two models to a server: a slot is a host's."""
    stack = start_multi_model(SAGEMAKER_TFS_INSTANCE_COUNT="2", SAGEMAKER_TFS_MODELS_PER_PROCESS="2")
    for name in ("a", "b", "c"):
        stack.loaded(name, stack.lay(name, models / "half_plus_two"))
    assert [route_of(stack, name) for name in ("a", "b", "c")] == ["direct"] * 3
    links = {name: os.readlink(stack.run_dir / "links" / name) for name in ("a", "b", "c")}
    assert len(set(links.values())) == 2
    assert stack.unload("a").status_code == 200
    assert stack.ask("a").status_code == 404
    assert [route_of(stack, name) for name in ("b", "c")] == ["direct"] * 2


@pytest.mark.parametrize("kind", ["wheel", "none"])
def test_other_nginx(
    start_multi_model: StartMultiModelStack, models: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Without njs none before 1.23 sees enough of a request."""
    stack = start_multi_model(**environ_for(kind, tmp_path_factory.mktemp("nginx")))
    stack.loaded("m", stack.lay("m", models / "half_plus_two"))
    slots = stack.plan().slots
    assert len(slots) == (128 if kind == "wheel" else len(slots))
    assert route_of(stack, "m") == ("direct" if slots else "worker")
    assert stack.ask("m", **{ATTRIBUTES: "tfs-model-version=123"}).json() == {"predictions": [2.5]}
    assert stack.unload("m").status_code == 200
    assert stack.ask("m").status_code == 404
