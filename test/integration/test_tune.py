"""The verb `tune` over real stacks, with models that are devices of known cost. Asserts verdicts, never times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.models import built_models

GOAL = "p90 <= 150 ms"  # which a machine's hiccups do not break


pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time over five pairs


@pytest.fixture(scope="module")
def devices() -> Path:
    return built_models("tuner")


NO_TIME = "There was no time for all that was worth trying"
#: What the tuner is given, in seconds, until it says that it had time for all: a busy machine needs more.
TIMES = (20, 60, 180)


def _heed_interrupts() -> None:
    """SIGINT ends the process, which inherits that it is ignored where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Tuned:
    """`python -m tfsd.tuner` as a process, with a report directory of its own."""

    def __init__(self, directory: Path, model: Path, model_server: Path, *words: str) -> None:
        self.report = directory / "report"
        self.log = directory / "log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER_")}
        environ = {**kept, "SAGEMAKER_TFS_BINARY": str(model_server), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        command = [sys.executable, "-m", "tfsd.tuner", str(model), "--output", str(self.report), *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_heed_interrupts,
            )

    def __enter__(self) -> Tuned:
        return self

    def __exit__(self, *failure: object) -> None:
        """It ends what it has started when it is interrupted."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def text(self) -> str:
        return self.log.read_text()

    def wait(self) -> int:
        return self.process.wait(500)

    def wait_for(self, words: str) -> None:
        """Until it has printed them, or has ended."""
        end = time.monotonic() + 400
        while words not in self.text() and self.process.poll() is None:
            assert time.monotonic() < end, self.text()
            time.sleep(0.1)

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.report / "report.json").read_text())
        return document


def test_a_model_whose_calls_cost_little_more_for_more_rows_is_batched(
    devices: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    """Eight times as many requests a second, not more: each of them takes the machine CPU."""
    for seconds in TIMES:
        words = ("--goal", GOAL, "--time", f"{seconds}s")
        with Tuned(tmp_path, devices / "mixed", quick_model_server, *words) as tuned:
            assert tuned.wait() == 0, tuned.text()
        document = tuned.document()
        assert document["curve"]["batching_may_help"] is True
        if document["verdict"]["kind"] == "better" or NO_TIME not in tuned.text():
            break
    assert (document["verdict"]["kind"], document["verdict"]["batching"]) == ("better", True), tuned.text()
    assert document["environment"]["SAGEMAKER_TFS_ENABLE_BATCHING"] == "true"
    assert "export SAGEMAKER_TFS_ENABLE_BATCHING=true" in tuned.text()
    # a machine may be too busy for the default to keep the goal at any rate
    if document["trials"][0]["rate"]:
        assert len(document["pairs"]) >= 5
    page = (tuned.report / "report.html").read_text()
    assert page.count("<svg") == 3
    for reference in ("src=", 'href="http', "@import", "url(http"):
        assert reference not in page


def test_a_model_whose_requests_cost_the_same_together_is_not_batched(
    devices: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    """A busy machine delays each call, which looks like a cost that batching saves: then trials and pairs have to show
    that it does not. Where nothing with batching was tried there is no need to wait for the pairs."""
    for seconds in TIMES:
        words = ("--goal", GOAL, "--time", f"{seconds}s")
        with Tuned(tmp_path, devices / "linear", quick_model_server, *words) as tuned:
            tuned.wait_for("pair 1")
            interrupted = "pair 1" in tuned.text() and "batches of" not in tuned.text()
            if interrupted:
                tuned.process.send_signal(signal.SIGINT)
            assert tuned.wait() == (130 if interrupted else 0), tuned.text()
        document = tuned.document()
        if document["verdict"]["batching"] is not True or NO_TIME not in tuned.text():
            break
    assert document["verdict"]["batching"] is not True, tuned.text()
    assert "SAGEMAKER_TFS_MAX_BATCH_SIZE" not in document["environment"]
    if not document["curve"]["batching_may_help"]:
        assert document["verdict"]["batching"] is False
        assert "Batching cannot help" in tuned.text()


def test_ctrl_c_ends_with_what_is_known(devices: Path, quick_model_server: Path, tmp_path: Path) -> None:
    with Tuned(tmp_path, devices / "flat", quick_model_server, "--goal", GOAL, "--time", "20s") as tuned:
        tuned.wait_for("batches of")
        tuned.process.send_signal(signal.SIGINT)
        assert tuned.wait() == 130, tuned.text()
        document = tuned.document()
        assert document["ended"] == "it was interrupted"
        assert document["verdict"]["kind"] == "unknown"
        assert document["curve"]["points"]
        assert document["trials"][0]["label"] == "default"
        assert (tuned.report / "report.html").is_file()
        assert "Traceback" not in tuned.text()


def test_requests_that_the_model_refuses_are_shown_with_its_words(
    devices: Path, quick_model_server: Path, tmp_path: Path
) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"instances": ["a"]}\n')
    with Tuned(tmp_path, devices / "flat", quick_model_server, "--requests", str(bodies)) as tuned:
        assert tuned.wait() == 1
        assert "is answered by status 400" in tuned.text()
        assert "Traceback" not in tuned.text()
