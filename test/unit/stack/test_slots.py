"""Slots: which ports they have, which models nginx reaches by them, and that the names agree with nginx's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from support.designs import ODD_NAMES, design_stack, own_code
from tfsd.plan import DEFAULT_POOL, Model, ModelServer, Plan, Pool
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import multi_model, slots
from tfsd.stack.design import Stack
from tfsd.stack.nginx import Nginx

MULTI = {"SAGEMAKER_MULTI_MODEL": "true"}


def lay_out(**environ: str) -> tuple[tuple[int, ...], ...]:
    return slots.lay_out(Settings.from_environ(MULTI | environ, cpus=2))


class TestPorts:
    def test_without_a_range_there_are_as_many_as_asked_for(self) -> None:
        for instances in (1, 3):
            found = lay_out(SAGEMAKER_TFS_MODEL_SLOTS="7", SAGEMAKER_TFS_INSTANCE_COUNT=str(instances))
            assert [len(slot) for slot in found] == [instances] * 7
            assert len({port for slot in found for port in slot}) == 7 * instances

    @pytest.mark.parametrize(
        ("ports", "instances", "expected"),
        [
            ("9000-9003", 1, ((9002,), (9003,))),
            ("9000-9004", 1, ((9003,), (9004,))),
            ("9000-9000", 1, ()),
            ("9000-9009", 2, ((9006, 9007), (9008, 9009))),
            ("8080-8083", 1, ((8083,),)),  # 8080 is the endpoint's own
        ],
    )
    def test_of_a_range_half_stay_for_grpc(
        self, ports: str, instances: int, expected: tuple[tuple[int, ...], ...]
    ) -> None:
        environ = {"SAGEMAKER_SAFE_PORT_RANGE": ports, "SAGEMAKER_TFS_INSTANCE_COUNT": str(instances)}
        assert lay_out(**environ) == expected

    def test_a_large_range_has_no_more_than_the_setting(self) -> None:
        assert lay_out(SAGEMAKER_SAFE_PORT_RANGE="10000-20000") == tuple(
            (port,) for port in range(19873, 20001)
        )

    def test_none(self) -> None:
        assert lay_out(SAGEMAKER_TFS_MODEL_SLOTS="0") == ()


def model(name: str, *rest_ports: int, pool: str = DEFAULT_POOL) -> Model:
    servers = tuple(ModelServer(f"model-{name}-{port}", port, 1) for port in rest_ports)
    return Model(name, "/", (1,), servers, pool)


class TestLinks:
    POOLS: ClassVar = {
        DEFAULT_POOL: Pool(DEFAULT_POOL, "python", ()),
        "own": Pool("own", "python", (), "inference.py"),
    }

    def links(self, *models: Model, **changes: Any) -> dict[str, int]:
        plan = Plan({model.name: model for model in models}, self.POOLS, slots=((1, 2), (3, 4)))
        return slots.links(dataclasses.replace(plan, **changes))

    def test_of_models_whose_servers_have_the_ports(self) -> None:
        models = [
            model("a", 3, 4),
            model("b", 3, 4),
            model("moved", 1, 9),
            model("less", 1),
            model("other", 7, 8),
        ]
        assert self.links(*models) == {"a": 1, "b": 1}
        assert self.links(*models, slots=()) == {}

    def test_code_is_for_workers(self) -> None:
        assert self.links(model("a", 1, 2, pool="own")) == {}
        universal = {DEFAULT_POOL: Pool(DEFAULT_POOL, "python", (), "inference.py")}
        assert self.links(model("a", 1, 2), pools=universal) == {}

    @pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a b", "ä", "a%2f", "a\n", "x" * 201])
    def test_odd_names_have_none(self, name: str) -> None:
        assert self.links(model(name, 1, 2)) == {}

    def test_marks(self) -> None:
        plan = Plan({name: model(name, 3, 4) for name in ("a", "ä")}, self.POOLS)
        assert slots.marks(plan) == {"a": "model_0", "ä": "model_1"}
        assert slots.marks(dataclasses.replace(plan, slots=((3, 4),))) == {"a": "a"}


class TestDesign:
    def test_a_plan_is_read_back(self, design: Callable[..., Stack]) -> None:
        stack = design({}, MULTI | {"SAGEMAKER_TFS_MODEL_SLOTS": "2"})
        stack.write()
        assert Plan.load(stack.run_dir) == stack.plan
        assert len(stack.plan.slots) == 2
        names = [*map(stack.run_dir.slot, range(2)), *map(stack.run_dir.pool_slot, range(2))]
        upstreams = re.findall(r"upstream (\w+) ", stack.run_dir.nginx_conf.read_text())
        assert {path.name for path in names} <= set(upstreams)
        assert [*stack.run_dir.slots.iterdir()] == []  # they are made with the links, hundreds fewer

    def test_there_are_none_where_no_request_could_take_them(self, design: Callable[..., Stack]) -> None:
        blind = Nginx("nginx", njs=False, joins_lines=False)
        assert design({}, MULTI, nginx=blind).plan.slots == ()
        assert design({}, MULTI, {None: own_code("m")}).plan.slots == ()
        assert design({}, MULTI | {"SAGEMAKER_TFS_PYTHON_ENDPOINT": "true"}).plan.slots == ()
        assert design({"half": (1,)}).plan.slots == ()
        assert design({}, MULTI, nginx=dataclasses.replace(blind, joins_lines=True)).plan.slots


class TestInNginx:
    @pytest.fixture(scope="class")
    @staticmethod
    def ask(start_nginx: Callable[..., Any]) -> Callable[[str], str]:
        """The name that nginx finds in a path; `.none` for none that a link could have."""
        stack = design_stack(Path("/run/x"), {}, MULTI)
        conf = stack.files()[stack.run_dir.nginx_conf]
        found = re.search(r"map \$request_uri \$linked_model \{.*?\n    \}", conf, re.DOTALL)
        assert found
        server = "server { listen LISTEN; location / { return 200 $linked_model; } }"
        connection = start_nginx(f"{found[0]}\n{server}", {}).connect()

        def name_in(path: str) -> str:
            connection.request("GET", path)
            return str(connection.getresponse().read().decode())

        return name_in

    @pytest.mark.parametrize("name", [*ODD_NAMES, "a", "a.b-c_D", ".a", "..", "x" * 201])
    def test_names_are_those_of_links(self, ask: Callable[[str], str], name: str) -> None:
        has_link = slots.LINK_NAME.fullmatch(name)
        assert ask(f"/models/{quote(name, safe='')}/invoke") == (name if has_link else ".none")

    @pytest.mark.parametrize(
        "path",
        [
            "/models/m",
            "/models/m/invoke/",
            "/models/m/invoke/../x",
            "/v1/models/m:predict",
            "/models/m%2fn/invoke",
            "//models/m/invoke",
            "/models//invoke",
            "/models/m/n/invoke",
            "/models/%6d/invoke",
            "/x/models/m/invoke",
        ],
    )
    def test_other_paths_have_none(self, ask: Callable[[str], str], path: str) -> None:
        assert ask(path) == ".none"


class TestSuffix:
    @pytest.mark.parametrize(
        ("attributes", "expected"),
        [
            ("tfs-method=classify", ":classify"),
            ("a=b, TFS-Model-Version = 12 ,tfs-method=predict", "/versions/12:predict"),
            ("note=x", ":predict"),
            ("tfs-model-version=012", "worker"),
            ("tfs-model-version=1/../2", "worker"),
            ("tfs-model-version=-1", "worker"),
            ("tfs-model-version=1234567890123456789", "worker"),
            ("tfs-method=delete", "worker"),
            ("tfs-method=constructor", "worker"),
            ("tfs-model-name=other", "worker"),
            ("tfs-method=predict,tfs-method=predict", "worker"),
            ("tfs-input-name=x", "worker"),
            ("tfs-method=", "worker"),
        ],
    )
    def test_of_attributes(self, suffix: Callable[[str], str], attributes: str, expected: str) -> None:
        assert suffix(attributes) == expected

    @pytest.fixture(scope="class")
    @staticmethod
    def suffix(start_nginx: Callable[..., Any]) -> Callable[[str], str]:
        stack = design_stack(Path("/run/x"), {}, MULTI)
        files = {path.name: text for path, text in stack.files().items() if path.suffix == ".js"}
        http = """
            js_path "DIRECTORY"; js_import router from router.js; js_set $suffix router.suffix;
            map $suffix $shown { "" worker; default $suffix; }
            server { listen LISTEN; location / { return 200 $shown; } }
        """
        connection = start_nginx(http, files).connect()

        def ask(attributes: str) -> str:
            connection.request("GET", "/", headers={"X-Amzn-SageMaker-Custom-Attributes": attributes})
            return str(connection.getresponse().read().decode())

        return ask


class TestPools:
    def test_a_slot_has_a_socket_for_each_worker_and_one_pool(self, short_dir: Path) -> None:
        environ = MULTI | {"SAGEMAKER_TFS_MODEL_SLOTS": "2", "SAGEMAKER_MODEL_SERVER_WORKERS": "3"}
        settings, run_dir = Settings.from_environ(environ, cpus=2), RunDir(short_dir)
        pools: dict[str, Pool] = {}
        for name, expected in (("a", 0), ("b", 1), ("c", None)):
            slot = slots.free_pool_slot(settings, run_dir, Plan({}, pools))
            pools[name] = multi_model.own_pool(run_dir, name, own_code("m"), settings.workers, slot)
            assert slot == expected
        own = [tuple(worker.socket for worker in pools[name].workers) for name in "ab"]
        assert own == slots.pool_sockets(settings, run_dir)
        assert [len(set(sockets)) for sockets in own] == [3, 3]
        assert len({worker.socket for worker in pools["c"].workers}) == 1
        del pools["a"]
        assert slots.free_pool_slot(settings, run_dir, Plan({}, pools)) == 0

    @pytest.mark.parametrize("workers", [1, 2])
    def test_each_socket_is_a_group_of_supervisord_s(
        self, design: Callable[..., Stack], workers: int
    ) -> None:
        stack = design({}, MULTI)
        pool = multi_model.own_pool(stack.run_dir, "m", own_code("m"), workers, 5)
        text = multi_model.pool_programs(stack.settings, stack.run_dir, pool)
        found = re.findall(r"\[fcgi-program:(.*)\]", text)
        assert found == [*multi_model.pool_groups(pool)] == [worker.program for worker in pool.workers]
        assert re.findall(r"socket=unix://(.*)", text) == [worker.socket for worker in pool.workers]
