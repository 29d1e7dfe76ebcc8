"""The line that says what is being done."""

from __future__ import annotations

import io
import time

from tfsd.local.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_moves_while_the_work_is_silent() -> None:
    seconds = iter(range(1000))
    terminal = Terminal()
    with Progress("installing", terminal, clock=lambda: next(seconds), tick=0.001) as progress:
        progress.show("Installing collected packages: tensorflow")
        written = terminal.tell()
        end = time.monotonic() + 30
        while terminal.getvalue()[written:].count("Installing collected packages") < 3:
            assert time.monotonic() < end
            time.sleep(0.001)
    shown = terminal.getvalue()[written:].split("\r\x1b[K")
    assert len({line for line in shown if "Installing collected" in line}) >= 3  # the seconds differ
    assert shown[-1].startswith("bin/local: installing: done after ")


def test_a_download_is_a_percentage_of_what_is_downloaded() -> None:
    terminal = Terminal()
    with Progress("installing", terminal) as progress:
        progress.show("Downloading tensorflow.whl (200 MB)")
        progress.show("Progress 50 of 200")
    assert "… Downloading tensorflow.whl (200 MB) 25 %" in terminal.getvalue()
    assert progress.lines == ["Downloading tensorflow.whl (200 MB)"]


def test_without_a_terminal_it_is_two_lines() -> None:
    stream = io.StringIO()
    with Progress("installing", stream, clock=lambda: 0.0) as progress:
        progress.show("Collecting a")
    assert stream.getvalue() == "bin/local: installing …\nbin/local: installing: done after 0 s.\n"
