"""A stack whose output nobody reads, as behind a terminal after Ctrl-S or a stuck log driver."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import requests

from support.stack import RunningStack

LONG = "x" * 4000  # of a line of the access log
REQUESTS = 800  # more than all buffers and pipes on the way take


class Unread(RunningStack):
    """The log is a pipe that is opened for reading and never read."""

    def start(self) -> RunningStack:
        os.mkfifo(self.log)
        self.reader = os.open(self.log, os.O_RDONLY | os.O_NONBLOCK)
        return super().start()

    def log_text(self) -> str:
        """What nobody has read so far, for a failure's report."""
        return os.read(self.reader, 1 << 16).decode(errors="replace")


def test_serving_never_waits_for_a_reader_of_the_log(
    models: Path, quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("unread")
    with Unread(
        directory, models / "half_plus_two", {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    ) as stack:
        with requests.Session() as session:
            for _ in range(REQUESTS):
                assert session.get(stack.url(f"/{LONG}"), timeout=10).status_code == 404
        assert stack.ping().status_code == 200
        assert stack.invoke("1.0", "text/csv").json() == {"predictions": [3.5]}
        page = requests.get(stack.url("/metrics"), timeout=10).text
        [dropped] = re.findall(r"^tfsd_log_lines_dropped_total (\S+)$", page, re.MULTILINE)
        assert float(dropped) > 0
        assert stack.stop() == 0
    os.close(stack.reader)
