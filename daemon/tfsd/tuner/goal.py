"""What the user wants of latency: `p99 <= 50 ms`."""

from __future__ import annotations

import dataclasses
import math
import re

PATTERN = re.compile(r"p(\d+(?:\.\d+)?)\s*<=?\s*(\d+(?:\.\d+)?)\s*(us|ms|s)")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
DEFAULT_QUANTILE = 0.99
DEFAULT_FACTOR = 10  # without a goal: so many times the latency of an idle endpoint
SMALLEST_DEFAULT_SECONDS = 0.02  # below it a goal tells more of this machine's scheduler than of the model


@dataclasses.dataclass(frozen=True)
class Goal:
    """At least `quantile` (0 to 1) of all requests are answered within `seconds` of the moment they were due."""

    quantile: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read `p99 <= 50 ms`; units are us, ms and s. Raises ValueError."""
        found = PATTERN.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"'{text}' is no goal; write one such as 'p99 <= 50 ms'")
        percent, amount, unit = found.groups()
        quantile, seconds = float(percent) / 100, float(amount) * UNITS[unit]
        if not 0 < quantile < 1 or seconds <= 0:
            raise ValueError(
                f"'{text}' is no goal: the percentile must be between 0 and 100, the time above zero"
            )
        return cls(quantile, seconds)

    @classmethod
    def from_idle(cls, seconds: float) -> Goal:
        """The goal when none is given: ten times what a request takes on an idle endpoint, to two digits."""
        wanted = max(DEFAULT_FACTOR * seconds, SMALLEST_DEFAULT_SECONDS)
        digits = 1 - math.floor(math.log10(wanted))
        return cls(DEFAULT_QUANTILE, round(wanted, digits))

    def allowed(self, requests: int) -> int:
        """How many of so many requests may be later, or fail."""
        return math.floor((1 - self.quantile) * requests + 1e-9)

    def __str__(self) -> str:
        return f"p{self.quantile * 100:g} <= {self.seconds * 1000:g} ms"
