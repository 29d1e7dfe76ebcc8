"""What nginx itself refuses, by the whole rendered configuration in a real nginx: JSON whatever is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import eventually
from support.designs import design_stack
from support.raw_http import exchange
from tfsd.stack.design import Machine
from tfsd.stack.nginx import Nginx
from tfsd.stack.ports import allocate

BROKEN = {
    "size": b"zz\r\n",
    "second size": b"2\r\n{}\r\nzz\r\n",
    "size beyond all numbers": b"ffffffffffffffffffff\r\n{}\r\n",
    "end": b"2\r\n{}0\r\n\r\n",
}


@pytest.fixture(scope="module", params=["single", "multi"])
def multi_model(request: pytest.FixtureRequest) -> str:
    return "true" if request.param == "multi" else "false"


@pytest.fixture(scope="module", params=["njs", "plain"])
def port(request: pytest.FixtureRequest, any_nginx: Nginx, multi_model: str) -> Iterator[int]:
    """The port of an nginx behind which nothing runs."""
    nginx = (
        any_nginx if request.param == "njs" else dataclasses.replace(any_nginx, njs=False, njs_module=None)
    )
    [number] = allocate(1)
    environ = {"SAGEMAKER_BIND_TO_PORT": str(number), "SAGEMAKER_MULTI_MODEL": multi_model}
    machine = Machine(cpus=1, root=os.geteuid() == 0)
    with tempfile.TemporaryDirectory(prefix="tfsd-") as directory:
        run_dir = Path(directory) / "run"
        stack = design_stack(
            run_dir, {} if multi_model == "true" else {"half": (1,)}, environ, nginx=nginx, machine=machine
        )
        stack.write()
        words = [nginx.binary, "-p", str(run_dir), "-e", "stderr", "-c", str(run_dir / "nginx.conf")]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: listens(number))
                yield number
            finally:
                process.terminate()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    "request_line",
    [
        "POST /nowhere",
        "POST /ping",
        "POST /error",
        "GET /nothing",
        "POST /invocations",
        "PUT /models",
        "TRACE /",
    ],
)
def test_a_broken_chunk(port: int, request_line: str, body: bytes) -> None:
    """Whether nginx meets it while it reads the body, or while it throws it away with an error in hand."""
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, headers, answer = exchange(port, head.encode() + body)
    assert (status, headers["Content-Type"], headers["Connection"]) == (400, "application/json", "close")
    assert "not well-formed HTTP" in json.loads(answer)["error"]
