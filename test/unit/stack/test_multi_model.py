"""What a loaded model gets: names that nginx and Python agree on, programs that supervisord reads back."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from support.designs import ODD_NAMES, own_code
from support.nginx import RunningNginx
from tfsd.plan import DEFAULT_POOL, Model, ModelServer
from tfsd.run_dir import RunDir, RunDirError
from tfsd.settings import Settings
from tfsd.stack import multi_model
from tfsd.stack.design import Stack
from tfsd.stack.templates import render

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1)
HTTP = """
    js_path "DIRECTORY";
    js_import names from names.js;
    js_set $odd names.id;
    map $request_uri $encoded_model {
        "~^/models/(?<encoded>[^/?]+)/invoke(?:\\?|$)" $encoded;
        default "";
    }
    server { listen LISTEN; large_client_header_buffers 4 64k; location / { return 200 $odd; } }
"""


@pytest.fixture(scope="module")
def nginx(start_nginx: Callable[..., RunningNginx]) -> RunningNginx:
    return start_nginx(HTTP, {"names.js": render("names.js")})


def id_in_nginx(nginx: RunningNginx, encoded: str) -> str:
    connection = nginx.connect()
    connection.request("POST", f"/models/{encoded}/invoke", b"")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


@settings(max_examples=60)
@given(name=NAMES)
@example("ü b:c%20")
@example("x" * 255)
@example("🙂")
@example("a+b")
@example("~")
def test_nginx_and_python_agree(nginx: RunningNginx, name: str) -> None:
    assert id_in_nginx(nginx, quote(name, safe="")) == multi_model.socket_id(name)


def test_a_name_that_is_no_text_has_no_socket(nginx: RunningNginx) -> None:
    assert id_in_nginx(nginx, "%ff%20") == "-"


def test_no_two_names_have_one_socket() -> None:
    names = [*ODD_NAMES, "a", "A", "a b", "a_b", *map(multi_model.socket_id, ODD_NAMES)]
    assert len({multi_model.socket_id(name) for name in names}) == len(set(names))


def test_no_two_models_have_one_pool() -> None:
    names = [*ODD_NAMES, "a b", "a_b"]
    pools = {multi_model.own_pool_name(name) for name in names}
    assert len(pools) == len(names)
    assert DEFAULT_POOL not in pools


def test_a_run_directory_that_is_too_long_for_a_socket_is_refused() -> None:
    multi_model.check_run_dir(RunDir(Path("/run/tfsd")))
    with pytest.raises(RunDirError, match="shorter --run-dir"):
        multi_model.check_run_dir(RunDir(Path("/" + "x" * 60)))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_programs_are_read_back(design: Callable[..., Stack], name: str, workers: int) -> None:
    stack = design({}, {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_TFS_INSTANCE_COUNT": "2"})
    pool = multi_model.own_pool(stack.run_dir, name, own_code("m"), workers, None)
    servers = (ModelServer("model-a", 1, 2), ModelServer("model-b", 3, 4))
    settings = Settings.from_environ({}, cpus=2)
    stack.write()
    programs = stack.run_dir.path / "programs"
    (programs / "a.conf").write_text(multi_model.pool_programs(settings, stack.run_dir, pool))
    (programs / "b.conf").write_text(
        multi_model.server_programs(settings, stack.run_dir, ["server"], servers, ["0", "1"])
    )
    options = ServerOptions()
    options.realize(["-c", str(stack.run_dir.path / "supervisord.conf")])
    groups = {group.name: group for group in options.process_group_configs}

    group = groups[multi_model.pool_stem(pool)]
    assert [process.name for process in group.process_configs] == [w.program for w in pool.workers]
    assert {worker.socket for worker in pool.workers} == {group.socket_config.path}
    for process in group.process_configs:
        words = shlex.split(process.command)
        assert f"--pool={pool.name}" in words
        assert words[words.index("--worker") + 1] == process.name
    for server, gpu in zip(servers, ("1", "0"), strict=True):
        process = groups[server.program].process_configs[0]
        assert f"--rest_api_port={server.rest_port}" in shlex.split(process.command)
        assert process.environment["CUDA_VISIBLE_DEVICES"] == gpu
    assert {"worker-default-0", "worker-default-1", "control", "nginx"} <= set(groups)


def test_a_host_has_one_file_for_all_its_models() -> None:
    servers = (ModelServer("models-0-0", 1, 2), ModelServer("models-0-1", 3, 4))
    text = multi_model.models_text([Model(name, f"/m/{name}", (1,), servers) for name in ("a", "b")])
    assert text.count("base_path:") == 2
    assert multi_model.models_text([]).count("config {") == 0
