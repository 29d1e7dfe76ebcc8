"""What we use of libraries that do not promise to keep it. setup.py bounds them; a failure names what to mend."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import gevent
import gevent.socket
import grpc._server
import pytest
import requests
from gevent import pywsgi
from google.protobuf.internal import builder
from grpc.experimental.gevent import init_gevent
from supervisor import dispatchers, process, supervisord
from supervisor.http import make_http_servers
from supervisor.options import FastCGIGroupConfig, ServerOptions
from supervisor.socket_manager import SocketManager

SETUP = Path(__file__).parents[2] / "setup.py"


@pytest.mark.parametrize(
    "name",
    [
        *("MessageClass", "get_environ", "handle_one_response", "finalize_headers", "_write_with_headers"),
        *("log_request", "log_error", "_log_error", "_sendall", "_write"),
    ],
)
def test_methods_of_pywsgi(name: str) -> None:
    """wsgi.py and worker/server.py override or call them; without one, headers cost more, or errors are not logged
    our way."""
    assert callable(getattr(pywsgi.WSGIHandler, name))


@pytest.mark.parametrize(
    "name",
    [
        *("headers_sent", "response_use_chunked", "response_headers", "close_connection", "provided_date"),
        *("wsgi_input", "content_length", "rfile", "request_version", "command", "status"),
    ],
)
def test_attributes_of_pywsgi(name: str) -> None:
    """wsgi.py and worker/server.py read and set them; renamed, answers lose headers or framing."""
    assert f"self.{name}" in inspect.getsource(pywsgi.WSGIHandler)


@pytest.mark.parametrize("name", ["_do_read", "_discard"])
def test_methods_of_pywsgi_s_bodies(name: str) -> None:
    """incoming.py overrides them; without one, bodies that are cut are errors of user code, or waited for."""
    assert callable(getattr(pywsgi.Input, name))
    assert f".{name}(" in inspect.getsource(pywsgi)


def test_gevent() -> None:
    """control's API, local SageMaker and workers use the socket below gevent's, its hub prints no traceback for what it
    expects, a worker is woken from a signal handler, and it asks whether anything else is ready."""
    assert hasattr(gevent.socket.socket, "_sock")
    assert isinstance(gevent.get_hub().NOT_ERROR, tuple)
    assert callable(gevent.get_hub().loop.async_)
    assert gevent.get_hub().loop.pendingcnt == 0
    assert isinstance(bool(gevent.get_hub().loop._callbacks), bool)
    assert abs(gevent.get_hub().loop.now() - time.time()) < 1000


def test_supervisor() -> None:
    """stack/supervisord.py replaces the group and the end of a process, so that listening sockets last, and the web
    pages."""
    assert list(inspect.signature(SocketManager.__init__).parameters) == ["self", "socket_config", "kwargs"]
    assert callable(SocketManager._close)
    assert "self.output_buffer = b''" in inspect.getsource(dispatchers.POutputDispatcher.record_output)
    assert "socketManager" in inspect.getsource(process.FastCGIProcessGroup)
    assert list(inspect.signature(process.Subprocess.finish).parameters) == ["self", "pid", "sts"]
    assert callable(process.FastCGIProcessGroup.before_remove)
    assert "FastCGIProcessGroup(" in inspect.getsource(FastCGIGroupConfig.make_group)
    assert "mood" in inspect.getsource(ServerOptions)
    assert "options.fork()" in inspect.getsource(process.Subprocess.spawn)
    for kind in (process.Subprocess, process.FastCGISubprocess):
        closing = "for i in range(3, options.minfds):\n            options.close_fd(i)\n"
        assert closing in inspect.getsource(kind._prepare_child_fds)
    assert callable(supervisord.main)
    assert "Supervisor(options)" in inspect.getsource(supervisord.go)
    assert "from supervisor.web import supervisor_ui_handler\n" in inspect.getsource(make_http_servers)


def test_protobuf() -> None:
    """protos/vendored.py makes message modules as protobuf's compiler would; without it, gRPC needs TensorFlow."""
    for name in ("BuildMessageAndEnumDescriptors", "BuildTopDescriptorsAndMessages"):
        assert callable(getattr(builder, name))


def test_grpc() -> None:
    """worker/upstream/grpc_gevent.py; without it, one gRPC call blocks a whole worker. model_server/rpc/server.py has
    a pool for refusals;
    without it, a refusal waits for the calls that it is for.
    """
    assert callable(init_gevent)
    assert "experimental_thread_pool" in inspect.getsource(grpc._server._select_thread_pool_for_behavior)


def test_requests() -> None:
    """worker/upstream/response.py fills a Response itself; otherwise `response.content` reads a socket that is none."""
    response = requests.Response()
    response._content = b"body"
    response._content_consumed = True  # type: ignore[attr-defined]
    assert response.content == b"body"


def test_the_installed_versions_are_within_the_bounds_of_setup() -> None:
    bounds = re.findall(r'"([a-z0-9.-]+)>=([\d.]+),<([\d.]+)"', SETUP.read_text())
    private = {"gevent", "grpcio", "protobuf", "requests", "supervisor", "tensorflow-cpu"}
    assert private <= {name for name, _, _ in bounds}
    for name, low, high in bounds:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert numbers(low) <= numbers(installed) < numbers(high), f"{name} {installed}"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


#: What `tfsd.model_server.runtime.tf` takes from TensorFlow's own modules, by the public names of the same.
OF_TENSORFLOW = {
    "ConfigProto": "compat.v1.ConfigProto",
    "GFile": "io.gfile.GFile",
    "Graph": "Graph",
    "Session": "compat.v1.Session",
    "TFRecordWriter": "io.TFRecordWriter",
    "as_dtype": "as_dtype",
    "errors.OpError": "errors.OpError",
    "exists": "io.gfile.exists",
    "float32": "float32",
    "get_logger": "get_logger",
    "listdir": "io.gfile.listdir",
    "load_op_library": "load_op_library",
    "load_saved_model": "compat.v1.saved_model.load",
    "string": "string",
    "tf_record_iterator": "compat.v1.io.tf_record_iterator",
}


def test_names_of_tensorflow() -> None:
    """The embedded model server imports them from where they are; moved, it does not start, or with something else."""
    lines = ["import sys", "sys.modules['keras'] = None"]  # which TensorFlow would import, half of its time
    lines += ["import tensorflow", "from tfsd.model_server.runtime import tf"]
    lines += [f"assert tf.{ours} is tensorflow.{public}" for ours, public in OF_TENSORFLOW.items()]
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
