"""What decides about an invocation's way, in a small nginx that answers what was decided."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path

from support.designs import design_stack, own_code
from tfsd.stack.design import LINES_TYPES
from tfsd.stack.nginx import Nginx
from tfsd.stack.templates import render

BUFFER = 64 * 1024
PROXIED = """
            proxy_pass_request_body off;
            proxy_pass_request_headers off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Target $direct_target;
            proxy_set_header X-Model $direct_model;
            proxy_set_header X-Decided $decided_target;
            proxy_method GET;
            proxy_pass "http://unix:DIRECTORY/decided.sock";
"""
HTTP = f"""
    include decision.conf;
    client_body_buffer_size {BUFFER};
    client_max_body_size 0;
    keepalive_requests 1000000;
    underscores_in_headers on;
    server {{
        listen LISTEN;
        location = /nothing {{ return 204; }}
        location = /invocations {{
            include head.conf;
            if ($usual_json) {{ rewrite ^ /usual last; }}
            set $judged "";
            if ($long_way) {{ rewrite ^ $long_way last; }}
            mirror /nothing;
            {PROXIED}
        }}
        location = /usual {{
            mirror /nothing;
            error_page 405 = $usual_way;
            empty_gif;
        }}
        location @usual {{ return 200 "$direct_target $direct_model"; }}
        location @worker {{ return 200 worker; }}
        location = /long/ {{ set $judged no; mirror /nothing; index /long/judged; }}
        location = /long/judged {{ include judged.conf; {PROXIED} }}
        location = /lines/worker {{ return 200 worker; }}
    }}
    map $http_x_target $answer {{
        "" worker;
        "workers_0/invocations" worker;
        default "$http_x_target $http_x_model";
    }}
    server {{
        listen "unix:DIRECTORY/decided.sock";
        return 200 $answer;
    }}
"""
MODELS = {
    "half": (1, 123),
    "half plus two": (1,),
    "über": (1,),
    "a%20b": (1,),
    "__proto__": (1,),
    "constructor": (1,),
    "own": (1,),
}
NATIVE = b'{"instances": [1.0, 2.0]}'
WORKER = "worker"

Connect = Callable[..., http.client.HTTPConnection]
Ask = Callable[..., str]


def decision(*, njs: bool = True, joins_lines: bool = True, **environ: str) -> dict[str, str]:
    """decision.conf and its scripts, of a stack in which only the model `own` has user code."""
    environ = {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "half", **environ}
    nginx = Nginx("nginx", njs=njs, joins_lines=joins_lines)
    files = design_stack(Path("/run/x"), MODELS, environ, codes={"own": own_code("own")}, nginx=nginx).files()
    found = {path.name: text for path, text in files.items() if path.suffix == ".js"}
    text = files[Path("/run/x/decision.conf")]
    accepts = re.findall(r'"POST\|application/json\|([^|]*)\|\|?"', text)
    found["head.conf"] = render(
        "head.conf", multi_model=False, joins_lines=joins_lines, json_accepts=accepts, lines_types=LINES_TYPES
    )
    found["judged.conf"] = render("judged.conf")
    return {**found, "decision.conf": text.replace('js_path "/run/x"', 'js_path "."')}


def invoke(
    connection: http.client.HTTPConnection,
    body: bytes = NATIVE,
    attributes: str | bytes | list[str] | None = None,
    method: str = "POST",
    **headers: str | None,
) -> str:
    """Which location was taken; `_` in a header's name stands for `-`, and None leaves a header out."""
    connection.putrequest(method, "/invocations", skip_accept_encoding=True)
    fields = {"Content-Type": "application/json", "Accept": "application/json"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})  # type: ignore[misc]
    for name, value in fields.items():
        if value is not None:
            connection.putheader(name, value)
    for line in attributes if isinstance(attributes, list) else [attributes]:
        if line is not None:
            raw = line.encode() if isinstance(line, str) else line
            connection.putheader("X-Amzn-SageMaker-Custom-Attributes", raw)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    return text


def path_of(answer: str) -> str:
    """The path at the model server to which a request goes, or WORKER."""
    target = answer.split()[0]
    return target[target.find("/") :] if "/" in target else target


DIRECT = "/v1/models/half:predict"
