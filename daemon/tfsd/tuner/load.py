"""The load generator as its user sees it: what is asked of it, what it answers, and its process.

The process is `python -m tfsd.tuner.generator`. It is told what to send once, then a line of JSON for each run, and
answers each with a line of JSON.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from tfsd.errors import StartError
from tfsd.tuner.generator import MAX_CONNECTIONS
from tfsd.tuner.goal import Goal

BUSY_SHARE = 0.85  # of one CPU: a generator that uses more may be what is slow
LATE_SHARE = 0.25  # of the goal's time: sends later than that are what the goal is broken by


class GeneratorError(StartError):
    """The load generator cannot go on; the text says why."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One request to an endpoint's /invocations."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Probe:
    """What one run of open-loop load has shown.

    Attributes:
        rate: requests a second that were asked for.
        due: requests that were due until the end, or until it was stopped early.
        planned: requests that would have been due without stopping.
        latencies: seconds from the moment each request was due to the end of its response, ascending; infinite for
            those that failed or had no response in time.
        seconds: that it took.
        statuses: how often each HTTP status was seen; `none` counts requests without a response.
        cpu_share: of one CPU that the generator used.
        lateness: seconds after they were due at which the generator took up requests: the goal's quantile of them.
            A connection that the server is slow to accept is the server's doing.
        connections: open at once, at most.
        stopped: more requests were late by then than the goal allows for the whole run.
    """

    rate: float
    due: int
    planned: int
    latencies: np.ndarray
    seconds: float
    statuses: Mapping[str, int]
    cpu_share: float
    lateness: float
    stopped: bool
    connections: int = 1

    def quantile(self, share: float) -> float:
        """The latency in seconds that a `share` of all requests kept, by the nearest rank."""
        if not len(self.latencies):
            return math.inf
        return float(self.latencies[min(math.ceil(share * len(self.latencies)), len(self.latencies)) - 1])

    def late(self, goal: Goal) -> int:
        """How many requests did not keep the goal's time."""
        return int(np.count_nonzero(self.latencies > goal.seconds))

    def keeps(self, goal: Goal) -> bool:
        """Whether no more requests than allowed were late."""
        return not self.stopped and self.late(goal) <= goal.allowed(self.planned)

    def generator_was_slow(self, goal: Goal) -> bool:
        """Whether the goal may be broken by the generator instead of the server."""
        if self.keeps(goal):
            return False
        full = self.connections >= MAX_CONNECTIONS and self.rate * goal.seconds > MAX_CONNECTIONS
        return full or self.cpu_share > BUSY_SHARE or self.lateness > LATE_SHARE * goal.seconds

    @classmethod
    def from_answer(cls, rate: float, answer: Mapping[str, Any]) -> Probe:
        """Read the generator's line."""
        answered = np.sort(np.asarray(answer["micros"], float)) / 1e6
        missing = np.full(answer["missing"], math.inf)
        return cls(
            rate=rate,
            due=answer["due"],
            planned=answer["planned"],
            latencies=np.concatenate([answered, missing]),
            seconds=answer["seconds"],
            statuses=answer["statuses"],
            cpu_share=answer["cpu_share"],
            lateness=answer["lateness"],
            stopped=answer["stopped"],
            connections=answer["connections"],
        )


class LoadGenerator:
    """The process, from `with` to its end."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tfsd.tuner.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: what is under way is read to its end
        )
        self._tell(
            [
                {
                    "body": base64.b64encode(request.body).decode(),
                    "headers": {"Content-Type": request.content_type, **request.headers},
                }
                for request in self._requests
            ]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                if self._process.stdin:
                    self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()

    def run(self, port: int, rate: float, seconds: float, seed: int, goal: Goal) -> Probe:
        """Poisson arrivals at `rate` a second for `seconds`, at the endpoint on `port`. Raises GeneratorError."""
        planned = max(1, round(rate * seconds))
        order = {
            "port": port,
            "rate": rate,
            "planned": planned,
            "seed": seed,
            "limit": goal.seconds,
            "quantile": goal.quantile,
            "allowed": goal.allowed(planned),
        }
        self._tell(order)
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise GeneratorError(f"the load generator ended with status {self._process.wait()}")
        return Probe.from_answer(rate, json.loads(line))

    def _tell(self, document: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise GeneratorError(
                f"the load generator ended with status {self._process.poll()}; it says why above"
            ) from None
