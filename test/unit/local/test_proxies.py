"""What is on this machine is reached without the proxy that the environment names."""

from __future__ import annotations

import pytest
from requests.utils import get_environ_proxies

from tfsd.local.proxies import NAMES, pass_by

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize("name", [None, *NAMES])
def test_this_machine_is_reached_directly_and_others_as_before(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"http_proxy": PROXY} | ({name: "inside.example, 10.0.0.1"} if name else {})
    pass_by(environ, "192.168.1.2", "127.0.0.1")
    for variable in (*NAMES, "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    for host in ("localhost", "127.0.0.1", "192.168.1.2", *(["inside.example", "10.0.0.1"] if name else [])):
        assert get_environ_proxies(f"http://{host}:8080/ping") == {}
    assert get_environ_proxies("http://other.example/")["http"] == PROXY


def test_nothing_is_named_twice() -> None:
    environ = {"NO_PROXY": "localhost,*"}
    pass_by(environ)
    pass_by(environ)
    assert environ == dict.fromkeys(NAMES, "localhost,*,127.0.0.1")
