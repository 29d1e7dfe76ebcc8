"""Ports of the model servers: the safe range of the hosting contract, section 1, or any free ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from tfsd.stack.ports import FREE_PORTS, PortError, _in_any_order, allocate, is_free, listen


@pytest.fixture
def free_run() -> int:
    """The first of four neighbouring ports that are free now."""
    for low in random.sample(range(20_000, 32_000, 4), 1000):
        if all(is_free(low + offset) for offset in range(4)):
            return low
    pytest.skip("no four neighbouring ports are free")


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_both_ends_of_the_range_are_used(free_run: int) -> None:
    assert allocate(4, (free_run, free_run + 3)) == [free_run, free_run + 1, free_run + 2, free_run + 3]


def test_a_range_that_is_too_small_is_refused_with_the_numbers(free_run: int) -> None:
    with pytest.raises(PortError) as error:
        allocate(6, (free_run, free_run + 3))
    for number in ("6 ports", f"{free_run}-{free_run + 3}", "has 4", "4 are free"):
        assert number in str(error.value)


def test_ports_that_are_taken_are_left_out(free_run: int) -> None:
    assert allocate(2, (free_run, free_run + 3), {free_run, free_run + 2}) == [free_run + 1, free_run + 3]


def test_a_port_in_use_is_left_out(used_port: int) -> None:
    assert not is_free(used_port)
    with pytest.raises(PortError, match="has 1, of which 0 are free"):
        allocate(1, (used_port, used_port))


def test_none_are_needed_without_models() -> None:
    assert allocate(0, (1, 1)) == []


def test_each_port_is_tried_once_in_an_order_by_chance() -> None:
    ports = range(100, 200)
    orders = [list(_in_any_order(ports, random.Random(seed))) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert order != sorted(order) == list(ports)


def test_without_a_range_ports_are_free_different_and_not_ephemeral() -> None:
    found = allocate(20)
    assert len(set(found)) == 20
    assert all(port in FREE_PORTS and is_free(port) for port in found)


def test_two_stacks_that_start_together_hardly_meet() -> None:
    assert allocate(10, seed=1) != allocate(10, seed=2)


class TestListen:
    def test_the_port_is_taken_and_handed_on(self, free_port: int) -> None:
        with listen("127.0.0.1", free_port) as listener:
            assert listener.get_inheritable()
            assert listener.getsockname() == ("127.0.0.1", free_port)
            socket.create_connection(("127.0.0.1", free_port)).close()
            with pytest.raises(PortError, match=f"port {free_port} is in use; choose another with --port"):
                listen("0.0.0.0", free_port)

    def test_an_address_of_another_machine(self, free_port: int) -> None:
        with pytest.raises(PortError, match=r"no address 192\.0\.2\.1; see --host"):
            listen("192.0.2.1", free_port)
