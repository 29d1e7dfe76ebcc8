"""The design of a stack: pools, ports, names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.designs import ODD_NAMES, design_stack, own_code
from tfsd.plan import DEFAULT_POOL, Plan
from tfsd.run_dir import RunDirError
from tfsd.stack import ports
from tfsd.stack.design import Stack, StackError, program_names
from tfsd.stack.ports import PortError

MODELS = dict.fromkeys(ODD_NAMES, (1,))

DesignStack = Callable[..., Stack]


class TestPools:
    def test_models_without_code_share_the_default_pool(self, design: DesignStack) -> None:
        plan = design({"a": (1,), "b": (1,)}).plan
        assert set(plan.pools) == {DEFAULT_POOL}
        assert plan.pools[DEFAULT_POOL].script is None
        assert {model.pool for model in plan.models.values()} == {DEFAULT_POOL}

    def test_code_for_all(self, design: DesignStack) -> None:
        plan = design({"a": (1,), "b": (1,)}, codes={None: own_code("x")}).plan
        [pool] = plan.pools.values()
        assert pool.script == "/opt/ml/model/x/code/inference.py"
        assert pool.python == "/venv/bin/python"
        assert pool.python_path == ("/opt/ml/model/x/code/lib", "/opt/ml/model/x/code")

    def test_code_of_one_model(self, design: DesignStack) -> None:
        plan = design({"a": (1,), "b": (1,)}, codes={"a": own_code("a")}).plan
        assert plan.pools[plan.models["a"].pool].script == "/opt/ml/model/a/code/inference.py"
        assert plan.pools[plan.models["b"].pool].script is None

    def test_a_model_called_as_the_default_pool_keeps_its_code_to_itself(self, design: DesignStack) -> None:
        plan = design({"default": (1,), "b": (1,)}, codes={"default": own_code("default")}).plan
        assert plan.pools[plan.models["b"].pool].script is None
        assert plan.pools[plan.models["default"].pool].script == "/opt/ml/model/default/code/inference.py"

    def test_workers_have_sockets_of_their_own(self, design: DesignStack) -> None:
        codes = {name: own_code(name) for name in ODD_NAMES}
        plan = design(MODELS, {"SAGEMAKER_GUNICORN_WORKERS": "3"}, codes=codes).plan
        sockets = [worker.socket for pool in plan.pools.values() for worker in pool.workers]
        assert len(sockets) == len(set(sockets)) == 3 * len(ODD_NAMES)
        assert max(len(socket.encode()) for socket in sockets) <= 107


class TestPlan:
    def test_it_is_what_is_written(self, design: DesignStack) -> None:
        stack = design(MODELS)
        stack.write()
        assert Plan.load(stack.run_dir) == stack.plan

    def test_default_model(self, design: DesignStack) -> None:
        assert design({"a": (1,), "b": (2,)}).plan.default_model == "a"
        named = {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "b"}
        assert design({"a": (1,), "b": (2,)}, named).plan.default_model == "b"

    def test_a_default_model_that_is_not_there(self, design: DesignStack) -> None:
        with pytest.raises(StackError, match=r"SAGEMAKER_TFS_DEFAULT_MODEL_NAME=c .*a, b"):
            design({"a": (1,), "b": (2,)}, {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "c"})

    def test_ports_of_the_range_but_not_the_endpoints(self, design: DesignStack, free_port: int) -> None:
        environ = {
            "SAGEMAKER_SAFE_PORT_RANGE": f"{free_port}-{free_port + 40}",
            "SAGEMAKER_BIND_TO_PORT": str(free_port),
        }
        servers = design({"a": (1,), "b": (2,)}, environ).plan.models["b"].servers
        for port in (servers[0].rest_port, servers[0].grpc_port):
            assert free_port < port <= free_port + 40

    def test_grpc_is_on_sockets_and_at_ports(self, design: DesignStack) -> None:
        stack = design(
            {"a": (1,), "b": (1,)}, {"SAGEMAKER_TFS_INSTANCE_COUNT": "2"}, codes={"b": own_code("b")}
        )
        rendered = stack.files()[stack.run_dir.supervisord_conf]
        for model in stack.plan.models.values():
            for server in model.servers:
                assert server.grpc_socket == str(stack.run_dir.grpc_socket(server.program))
                assert f"--port={server.grpc_port} --rest_api_port={server.rest_port}" in rendered
                assert f"--grpc_socket_path={server.grpc_socket}" in rendered
        assert len(stack.plan.ports) == 8

    def test_grpc_is_on_sockets_alone_where_no_user_code_looks_for_a_port(self, design: DesignStack) -> None:
        environ = {"SAGEMAKER_TFS_GRPC_SOCKETS": "true"}
        stack = design({"a": (1,), "b": (1,)}, environ, codes={"b": own_code("b")})
        [a], [b] = (stack.plan.models[name].servers for name in "ab")
        assert (a.grpc_port, a.grpc_socket) == (0, str(stack.run_dir.grpc_socket("model-a")))
        assert (b.grpc_port != 0, b.grpc_socket) == (True, str(stack.run_dir.grpc_socket("model-b")))
        assert stack.plan.ports == {a.rest_port, b.rest_port, b.grpc_port}
        assert f"--port=0 --rest_api_port={a.rest_port}" in stack.files()[stack.run_dir.supervisord_conf]

        shared = design({"a": (1,)}, environ, codes={None: own_code("x")})
        assert shared.plan.models["a"].servers[0].grpc_port != 0

    def test_the_first_port_of_the_range_is_grpc_s(self, design: DesignStack, free_port: int) -> None:
        """Scripts that were written for AWS's images connect to it by themselves."""
        environ = {"SAGEMAKER_SAFE_PORT_RANGE": f"{free_port}-{free_port + 40}"}
        (server,) = design({"a": (1,)}, environ).plan.models["a"].servers
        assert server.grpc_port < server.rest_port
        assert server.grpc_port == ports.allocate(1, (free_port, free_port + 40))[0]

    def test_no_model_is_reached_directly_when_all_have_the_python_endpoint(
        self, design: DesignStack
    ) -> None:
        stack = design({"a": (1,)}, {"SAGEMAKER_TFS_PYTHON_ENDPOINT": "true"})
        assert "js_import" not in stack.files()[stack.run_dir.nginx_conf]

    def test_a_range_that_is_too_small(self, design: DesignStack) -> None:
        with pytest.raises(PortError, match=r"need 4 ports.*9000-9002 has 3"):
            design({"a": (1,), "b": (2,)}, {"SAGEMAKER_SAFE_PORT_RANGE": "9000-9002"})


def test_a_run_directory_that_is_too_long_for_sockets() -> None:
    with pytest.raises(RunDirError, match="--run-dir"):
        design_stack(Path("/" + "x" * 90), {"half": (1,)})
    assert design_stack(Path("/" + "x" * 60), {"half": (1,)})


def test_a_model_server_keeps_to_its_port_where_the_socket_s_path_is_too_long_for_one() -> None:
    run_dir, models = Path("/" + "x" * 60), {"m" * 40: (1,), "m": (1,)}
    plan = design_stack(run_dir, models).plan
    assert [bool(plan.models[name].servers[0].grpc_socket) for name in models] == [False, True]
    assert all(plan.models[name].servers[0].grpc_port for name in models)
    with pytest.raises(RunDirError, match="--run-dir"):
        design_stack(run_dir, models, {"SAGEMAKER_TFS_GRPC_SOCKETS": "true"})


def test_a_model_server_keeps_to_its_port_where_grpc_would_take_the_socket_s_path_for_another_s() -> None:
    """What stands after a percent sign it decodes."""
    [server] = design_stack(Path("/run/branch%2Fmain"), {"m": (1,)}).plan.models["m"].servers
    assert (server.grpc_port != 0, server.grpc_socket) == (True, "")


class TestProgramNames:
    @pytest.mark.parametrize(
        ("kind", "name", "count", "names"),
        [
            ("model", "half", 1, ["model-half"]),
            ("worker", "half_plus.2", 2, ["worker-half_plus.2-0", "worker-half_plus.2-1"]),
        ],
    )
    def test_of_plain_names(self, kind: str, name: str, count: int, names: list[str]) -> None:
        assert program_names(kind, name, count) == names

    def test_are_the_same_at_every_start(self) -> None:
        assert program_names("model", "half plus two", 1) == ["model-half_plus_two-9c762b07"]

    @given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=4, unique=True), st.integers(1, 3))
    def test_differ_and_are_short_and_plain(self, names: list[str], count: int) -> None:
        found = [program for name in names for program in program_names("model", name, count)]
        assert len(set(found)) == len(names) * count
        assert all(re.fullmatch(r"model-[A-Za-z0-9._-]{1,42}", program) for program in found)
