"""How the processes ended: what `tfsd.stack.supervisord` noted in the run directory.

Owns the reading of these notes. What an end means is decided by who asks.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal

from tfsd.run_dir import RunDir

UNAVAILABLE = "did not become available: "
REFUSED_VERSION = re.compile(
    r"\{name: (?P<model>.*?) version: (?P<version>\d+)\} due to error: (?P<error>.*?)\}, (?=[{}])", re.DOTALL
)
FAILED_LOAD = re.compile(
    r"Loading servable: \{name: (?P<model>.*?) version: (?P<version>\d+)\} failed: (?P<error>.*?)( \(giving up\))?$",
    re.MULTILINE,
)  # of each version; the last words name one of a model's only
START_ERROR = re.compile(r"Failed to start server\. Error: (.*)", re.DOTALL)
MAX_REASON_CHARACTERS = 500


@dataclasses.dataclass(frozen=True)
class End:
    """The last end of a program's process.

    `code` is its exit code, or minus a signal's number; `said` the last of what it wrote, if anything was kept.
    """

    pid: int
    code: int
    said: str = ""

    def unloadable(self, model: str) -> dict[int, str]:
        """The versions of a model, with the reason, for which a model server refused to start.

        tensorflow_model_server says so as "1 servable(s) did not become available: {{{name: m version: 2} due to
        error: DATA_LOSS: …}, }" and ends with 255.
        """
        refusals = self._refusals()
        return {int(each["version"]): _one_line(each["error"]) for each in refusals if each["model"] == model}

    def described(self) -> str:
        """How it ended and why, in words that go on after the program's name."""
        if self.code < 0:
            return f"was ended by {_signal_name(-self.code)}"
        refusals = {each["version"]: _one_line(each["error"]) for each in self._refusals()}
        said = START_ERROR.search(self.said)
        reason = (
            "; ".join(f"version {version}: {text}" for version, text in refusals.items())
            or (said and _one_line(said[1]))
            or "the container's log says why"
        )
        return f"ended with status {self.code}: {reason}"

    def _refusals(self) -> list[re.Match[str]]:
        _, found, listed = self.said.rpartition(UNAVAILABLE)
        if not found or self.code <= 0:
            return []
        return [*FAILED_LOAD.finditer(self.said), *REFUSED_VERSION.finditer(listed)]


def end_of(run_dir: RunDir, program: str) -> End | None:
    """How the program's process ended last; None: it has not ended since that was forgotten."""
    try:
        document = json.loads(run_dir.end(program).read_text())
        return End(int(document["pid"]), int(document["code"]), str(document["said"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON_CHARACTERS else line[: MAX_REASON_CHARACTERS - 1] + "…"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
