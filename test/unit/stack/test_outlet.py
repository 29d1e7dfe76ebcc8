"""A log whose reader has stopped: nobody waits, lines are dropped and counted, and it goes on afterwards."""

from __future__ import annotations

import os
import re
import select

from tfsd.stack.outlet import Outlet


def test_what_is_written_arrives() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.write(b"one\n")
    outlet.write(b"two\n")
    outlet.close(10)
    assert os.read(reading, 100) == b"one\ntwo\n"
    assert outlet.dropped == 0


def test_a_reader_that_stops_reading_holds_up_nobody() -> None:
    reading, writing = os.pipe()
    reported: list[int] = []
    outlet = Outlet(writing, reported.append, buffer_bytes=100_000)
    line = b"x" * 999 + b"\n"
    for _ in range(1000):
        outlet.write(line)  # a pipe takes 64 kB
    assert outlet.dropped > 700
    assert reported
    total = b""
    while total.count(line) + outlet.dropped < 1000 or not total.endswith(b"nobody read them\n"):
        total += os.read(reading, 1 << 16)
    told = re.findall(rb"^(\d+) lines of the log were dropped here", total, re.MULTILINE)
    assert sum(map(int, told)) == outlet.dropped == reported[-1]
    assert total.count(line) + outlet.dropped == 1000
    outlet.write(b"again\n")
    outlet.close(10)
    assert os.read(reading, 100).endswith(b"again\n")


def test_nothing_is_lost_where_writing_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    outlet = Outlet(writing)
    lines = b"".join(b"%06d %s\n" % (number, b"x" * 92) for number in range(5000))  # a pipe takes 64 kB
    outlet.write(lines)
    arrived = b""
    while len(arrived) < len(lines) and select.select([reading], [], [], 30)[0]:
        arrived += os.read(reading, 1 << 16)
    assert arrived == lines
    outlet.close(10)


def test_the_end_does_not_wait_for_a_reader_that_never_comes() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    outlet.write(b"x" * 200_000)
    outlet.close(0.01)
    os.close(reading)
