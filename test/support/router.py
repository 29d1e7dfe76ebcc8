"""The routing script in a small nginx, whose two named locations answer which of them was taken, and with what."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

from support.designs import design_stack, own_code
from tfsd.stack.templates import render

BUFFER = 64 * 1024
HTTP = f"""
    js_path "DIRECTORY";
    js_import router from router.js;
    js_var $direct_upstream;
    js_var $direct_uri;
    js_var $direct_model;
    {render("one_document.conf")}
    client_body_buffer_size {BUFFER};
    client_max_body_size 0;
    keepalive_requests 1000000;
    underscores_in_headers on;
    server {{
        listen LISTEN;
        location = /invocations {{ js_content router.route; }}
        location @direct {{ return 200 "$direct_upstream $direct_model $direct_uri"; }}
        location @worker {{ return 200 worker; }}
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


def scripts(**environ: str) -> dict[str, str]:
    """router.js and routes.js of a stack in which only the model `own` has user code."""
    environ = {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "half", **environ}
    files = design_stack(Path("/run/x"), MODELS, environ, codes={"own": own_code("own")}).files()
    return {path.name: text for path, text in files.items() if path.suffix == ".js"}


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
    return answer.rpartition(" ")[2]


DIRECT = "/v1/models/half:predict"
