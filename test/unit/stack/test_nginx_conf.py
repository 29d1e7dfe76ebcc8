"""The rendered nginx.conf, read back by nginx."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.designs import ODD_NAMES, design_stack, own_code
from support.nginx import RunningNginx
from tfsd.model_directory import Code
from tfsd.stack.design import Machine, Stack
from tfsd.stack.model_server_flags import EMBEDDED
from tfsd.stack.nginx import Nginx

MODELS = dict.fromkeys(ODD_NAMES, (1,))

DesignStack = Callable[..., Stack]


class TestTheWhole:
    def accepted(self, nginx: Nginx, stack: Stack) -> None:
        stack.write()
        command = [
            nginx.binary,
            "-t",
            "-e",
            "stderr",
            "-p",
            str(stack.run_dir),
            "-c",
            str(stack.run_dir.path / "nginx.conf"),
        ]
        # supervisord has the port; nginx is given it as here, so that the check opens none
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "[warn]" not in done.stderr

    @pytest.fixture
    def environ(self, free_port: int) -> dict[str, str]:
        return {"SAGEMAKER_BIND_TO_PORT": str(free_port)}

    def machine(self) -> Machine:
        return Machine(cpus=2, root=os.geteuid() == 0)

    def test_one_model(self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str]) -> None:
        self.accepted(any_nginx, design({"half": (1,)}, environ, nginx=any_nginx, machine=self.machine()))

    @pytest.mark.parametrize("percent", ["100", "0.25", "0"])
    @pytest.mark.parametrize("multi_model", ["true", "false"])
    def test_capture(
        self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str], percent: str, multi_model: str
    ) -> None:
        environ |= {"SAGEMAKER_TFS_CAPTURE_DIR": "/captured", "SAGEMAKER_TFS_CAPTURE_PERCENT": percent}
        environ["SAGEMAKER_MULTI_MODEL"] = multi_model
        models = {} if multi_model == "true" else {"half": (1,)}
        stack = design(models, environ, nginx=any_nginx, machine=self.machine())
        self.accepted(any_nginx, stack)
        rendered = (stack.run_dir.path / "nginx.conf").read_text()
        assert (f" {percent}% yes;" in rendered) == ("X-Tfsd-Sampled" in rendered) == (percent != "0")

    def test_odd_names(self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str]) -> None:
        """Half of the models have code of their own, and of the others there are two instances each."""
        codes = {name: own_code(name) for name in ODD_NAMES[::2]}
        environ["SAGEMAKER_TFS_INSTANCE_COUNT"] = "2"
        stack = design(MODELS, environ, codes=codes, nginx=any_nginx, machine=self.machine())
        self.accepted(any_nginx, stack)

    @pytest.mark.parametrize("njs", [True, False])
    def test_odd_names_in_paths(
        self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str], njs: bool
    ) -> None:
        """TensorFlow Serving's REST API names models in the path; the longest names make the longest patterns."""
        longest = ("," * 255, "\N{SNOWMAN}" * 85)
        models = dict.fromkeys((*ODD_NAMES, *longest), (1, 2))
        for names in (ODD_NAMES[::2], [*ODD_NAMES[1::2], *longest]):
            codes = {name: own_code(name) for name in names}
            nginx = dataclasses.replace(any_nginx, njs=njs)
            stack = design(
                models,
                environ | {"SAGEMAKER_TFS_REST_API": "true"},
                codes,
                nginx=nginx,
                machine=self.machine(),
            )
            self.accepted(nginx, stack)

    def test_all_models_have_code(
        self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str]
    ) -> None:
        stack = design(
            {"half": (1,)}, environ, {None: own_code("half")}, nginx=any_nginx, machine=self.machine()
        )
        self.accepted(any_nginx, stack)

    def test_no_routing_script(self, design: DesignStack, any_nginx: Nginx, environ: dict[str, str]) -> None:
        plain = dataclasses.replace(any_nginx, njs=False, njs_module=None)
        stack = design({"half": (1,)}, environ, nginx=plain, machine=self.machine())
        assert not any("js_import" in text for text in stack.files().values())
        self.accepted(plain, stack)

    def test_a_run_directory_with_a_blank(
        self, short_dir: Path, any_nginx: Nginx, environ: dict[str, str]
    ) -> None:
        self.accepted(
            any_nginx,
            design_stack(
                short_dir / "a run", {"half": (1,)}, environ, nginx=any_nginx, machine=self.machine()
            ),
        )

    def test_a_real_server_s_large_answers_come_over_new_connections(self, design: DesignStack) -> None:
        """tensorflow_model_server sets no TCP_NODELAY: on a kept connection a large answer takes 40 ms longer."""
        real = design({"half": (1,)})
        embedded = dataclasses.replace(real, model_server_command=[sys.executable, *EMBEDDED])
        for stack, marked in ((real, True), (embedded, False)):
            text = stack.files()[stack.run_dir.nginx_conf]
            upstream = re.search(r"upstream model_0 \{.*?\n    \}", text, re.DOTALL)
            usual = re.search(r"location = /invocations \{.*?\n        \}", text, re.DOTALL)
            direct = re.search(r"location = /invoked \{.*?\n        \}", text, re.DOTALL)
            assert upstream
            assert usual
            assert direct
            assert "keepalive" in upstream[0]
            assert ('large/model_0") {\n                rewrite ^ /invoked last;' in usual[0]) == marked
            assert ("large/$asked_upstream" in direct[0]) == marked

    @pytest.mark.parametrize("multi_model", ["true", "false"])
    @pytest.mark.parametrize("code", [True, False])
    def test_whatever_takes_large_bodies_counts_those_that_may_lie_on_the_disk(
        self, design: DesignStack, multi_model: str, code: bool
    ) -> None:
        """Locations with bodies of an invocation's size: not those of control's, nor those for less than 10 kB."""
        environ = {
            "SAGEMAKER_MULTI_MODEL": multi_model,
            "SAGEMAKER_TFS_REST_API": "true",
            "SAGEMAKER_TFS_V2_API": "true",
        }
        models = {} if multi_model == "true" else {"half": (1,)}
        stack = design(models, environ, {None: own_code("half")} if code else {})
        text = stack.files()[stack.run_dir.nginx_conf]
        locations = re.findall(
            r"^        location (?![@]|= /nothing)(.*?) \{(.*?)^        \}", text, re.M | re.S
        )
        large = {name: body for name, body in locations if re.search(r"proxy_pass http://(?!control;)", body)}
        large.pop("= /lines/usual/direct", None)
        assert any("invo" in name for name in large)
        assert [name for name, body in large.items() if "limit_conn spooled 16;" not in body] == []

    def test_timeouts_follow_the_requests_limit(self, design: DesignStack) -> None:
        stack = design({"half": (1,)}, {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "90"})
        text = stack.files()[stack.run_dir.nginx_conf]
        assert "proxy_read_timeout 92s;" in text
        assert "longer than the limit of 90 s" in text

    @pytest.mark.parametrize("njs", [True, False])
    @pytest.mark.parametrize("multi_model", ["true", "false"])
    def test_probes_are_controls_whatever_the_mode(
        self, design: DesignStack, njs: bool, multi_model: str
    ) -> None:
        models = {} if multi_model == "true" else {"half": (1,)}
        nginx = Nginx("/usr/sbin/nginx", njs=njs)
        stack = design(models, {"SAGEMAKER_MULTI_MODEL": multi_model}, nginx=nginx)
        text = stack.files()[stack.run_dir.nginx_conf]
        for path in ("/ping", "/livez", "/readyz", "/startupz"):
            location = re.search(rf"location = {path} \{{.*?\n        \}}", text, re.DOTALL)
            assert location
            assert "proxy_pass http://control;" in location[0]
            assert "access_log off;" in location[0]


@pytest.mark.parametrize("name", ["half", "half plus two", "a%20b", "ns:predict", "über", "a,b=c~-._"])
def test_a_usual_document_reaches_the_default_model_whatever_its_name(
    start_nginx: Callable[..., RunningNginx], name: str
) -> None:
    stack = design_stack(Path("/run/x"), {name: (1,)})
    found = re.search(
        r"location @usual \{.*?\n        \}", stack.files()[stack.run_dir.nginx_conf], re.DOTALL
    )
    assert found
    usual = re.sub(r"access_log .*", "", found[0])
    connection = start_nginx(
        f"""upstream model_0 {{ server "unix:DIRECTORY/model.sock"; }}
        server {{ listen LISTEN; location / {{ error_page 405 = @usual; empty_gif; }} {usual} }}
        server {{
            listen "unix:DIRECTORY/model.sock";
            return 200 "$request_method $request_uri $http_content_type $http_x_tfsd_request_id";
        }}""",
        {},
    ).connect()
    connection.request("POST", "/invocations", b"{}", {"Content-Type": "application/json"})
    asked = connection.getresponse().read().decode()
    assert asked == f"POST /v1/models/{quote(name, safe='')}:predict application/json "
    connection.close()


class TestPoolOfARequest:
    """nginx's map from the custom attributes to a worker pool, in a real nginx."""

    OWN = ("own code", "übergröße", "a.b", "50%", "x" * 200, "default")

    @pytest.fixture(scope="class")
    @staticmethod
    def upstream_of(start_nginx: Callable[..., Any]) -> Callable[[bytes | None], str | None]:
        """The model whose pool a request goes to, by its attributes; None for the shared pool."""
        models = dict.fromkeys((*TestPoolOfARequest.OWN, "half"), (1,))
        codes: dict[str | None, Code] = {name: own_code(name) for name in TestPoolOfARequest.OWN}
        stack = design_stack(Path("/run/x"), models, {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "half"}, codes)
        files = stack.files()
        conf = files[stack.run_dir.nginx_conf]
        found = re.search(r"map \$\w+ \$worker_pool \{.*?\n\}", files[stack.run_dir.decision_conf], re.DOTALL)
        assert found
        server = "server { listen LISTEN; location / { return 200 $worker_pool; } }"
        nginx = start_nginx(f"map_hash_bucket_size 64;\n{found[0]}\n{server}", {})
        sockets = dict(re.findall(r"upstream (\w+) \{[^}]*?unix:[^\"]*/([^/\"]+)\.sock", conf))
        owners = {
            worker.program: next(
                (m.name for m in stack.plan.models.values() if m.pool == pool.name != "default"), None
            )
            for pool in stack.plan.pools.values()
            for worker in pool.workers
        }

        def ask(header: bytes | None) -> str | None:
            connection = nginx.connect()
            headers = {} if header is None else {"X-Amzn-SageMaker-Custom-Attributes": header}
            connection.request("GET", "/", headers=headers)
            return owners[sockets[connection.getresponse().read().decode()]]

        return ask

    @pytest.mark.parametrize("name", OWN)
    @pytest.mark.parametrize("form", ["tfs-model-name=%s", "a=b, TFS-Model-Name = %s ,tfs-method=predict"])
    def test_of_a_model_with_code(self, upstream_of: Callable[..., Any], form: str, name: str) -> None:
        assert upstream_of((form % name).encode()) == name

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "tfs-model-name=half",
            "tfs-model-name=aXb",
            "tfs-model-name=A.B",
            "tfs-model-name=a.b.c",
            "note=tfs-model-name=a.b",
            "tfs-model-name-x=a.b",
            "x-tfs-model-name=a.b",
            "tfs-method=a.b",
        ],
    )
    def test_of_any_other(self, upstream_of: Callable[..., Any], header: str | None) -> None:
        assert upstream_of(header.encode() if header is not None else None) is None
