"""What of a stack's output is a notice."""

from __future__ import annotations

import io

import pytest

from tfsd.local.output import is_notice, pass_on

NOTICES = """
2026-11-25 01:41:26,123 INFO spawned: 'nginx' with pid 4
2026-11-25 01:41:26,123 INFO success: nginx entered RUNNING state, process has stayed up for > 1 seconds (startsecs)
2026-11-25 01:41:26,123 CRIT Server 'unix_http_server' running without any HTTP authentication checking
2026-11-25 01:41:26,123 WARN received SIGTERM indicating exit request
2026/11/25 02:00:52 [notice] 21456#21456: using inherited sockets from "0:"
2026-11-25 02:00:59,326 I TensorFlow is loaded after 6.4 s
[evhttp_server.cc : 250] NET_LOG: Entering the event loop ...
2026-11-25 01:41:26,123 control INFO model half version 1 on model-half: START -> LOADING
2026-11-25 01:41:26.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
I0000 00:00:1764035000.123456   1234 port.cc:153] oneDNN custom operations are on.
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the flags.
""".strip().splitlines()
OTHERS = """
2026-11-25 01:41:26,123 WARN exited: model-half (exit status 255; not expected)
2026-11-25 01:41:26,123 CRIT could not write pidfile /x
2026-11-25 01:41:26,123 serve WARNING SAGEMAKER_TFS_X is no setting
2026-11-25 01:41:26,123 worker-default ERROR no
2026/11/25 02:00:52 [error] 21456#21456: no
2026-11-25 02:00:59,326 W Something
2026-11-25 01:41:26.123456: E tensorflow/core/x.cc:1] bad
serve: port 80 is in use
127.0.0.1 [2026-11-25T01:41:26+00:00] "POST /invocations HTTP/1.1" 200 12 route=direct
what user code prints INFO
""".strip().splitlines()


@pytest.mark.parametrize("line", NOTICES)
def test_notices(line: str) -> None:
    assert is_notice(line.encode())


@pytest.mark.parametrize("line", OTHERS)
def test_others(line: str) -> None:
    assert not is_notice(line.encode())


def test_lines_are_passed_on_until_the_end() -> None:
    source = io.BytesIO("\n".join([NOTICES[0], OTHERS[0], NOTICES[3], "the end"]).encode())
    target = io.BytesIO()
    pass_on(source, target).join()
    assert target.getvalue().decode() == f"{OTHERS[0]}\nthe end"
