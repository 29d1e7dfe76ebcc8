"""Ports that are listened on, read from the kernel."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from tfsd.control.health.listening import listening


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_port_has_the_address_that_it_is_bound_to(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip("no such address here")
        port = listener.getsockname()[1]
        assert ip_address(address) not in listening().get(port, set())
        listener.listen()
        assert ip_address(address) in listening()[port]
