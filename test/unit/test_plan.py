"""The plan file: what is saved is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.plan import Model, ModelServer, Plan, Pool, Worker
from tfsd.run_dir import RunDir

NAMES = st.text(min_size=1, max_size=20)
PORTS = st.integers(1, 65535)
SERVERS = st.lists(st.builds(ModelServer, NAMES, PORTS, PORTS, NAMES), max_size=3).map(tuple)
VERSIONS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4).map(tuple)
MODELS = st.builds(Model, NAMES, NAMES, VERSIONS, SERVERS, NAMES)
WORKERS = st.lists(st.builds(Worker, NAMES, NAMES), max_size=3).map(tuple)
POOLS = st.builds(Pool, NAMES, NAMES, WORKERS, st.none() | NAMES, st.lists(NAMES, max_size=2).map(tuple))
PLANS = st.builds(
    Plan,
    st.lists(MODELS, max_size=3).map(lambda models: {model.name: model for model in models}),
    st.lists(POOLS, max_size=3).map(lambda pools: {pool.name: pool for pool in pools}),
    st.none() | NAMES,
)


@given(plan=PLANS)
def test_round_trip(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_dir = RunDir(tmp_path_factory.getbasetemp())
    plan.save(run_dir)
    assert Plan.load(run_dir) == plan


def test_saving_leaves_one_file_and_replaces_it(tmp_path: Path) -> None:
    Plan({}, {}).save(RunDir(tmp_path))
    before = (tmp_path / "plan.json").stat().st_ino
    Plan({}, {}, "m").save(RunDir(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert (tmp_path / "plan.json").stat().st_ino != before
    assert Plan.load(RunDir(tmp_path)).default_model == "m"


def test_no_plan_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"plan\.json"):
        Plan.load(RunDir(tmp_path))


def test_the_latest_version_is_the_highest() -> None:
    assert Model("m", "/m", (1, 2, 10), ()).latest == 10


BY_PORT, BY_BOTH, BY_SOCKET = (
    ModelServer("model-m", 1, 2),
    ModelServer("model-m", 1, 2, "/run/m.sock"),
    ModelServer("model-m", 1, 0, "/run/m.sock"),
)


def test_a_model_server_that_moves_opens_the_ports_that_it_had() -> None:
    moved = [server.moved(20, 10) for server in (BY_PORT, BY_BOTH, BY_SOCKET)]
    assert [server.ports for server in moved] == [{10, 20}, {10, 20}, {10}]
    assert [server.grpc_socket for server in moved] == ["", "/run/m.sock", "/run/m.sock"]


def test_grpc_s_name_of_a_model_server_is_its_port_s_if_it_has_one() -> None:
    assert BY_PORT.grpc_target == BY_BOTH.grpc_target == "ipv4:127.0.0.1:2"
    assert BY_SOCKET.grpc_target == "unix:/run/m.sock"
