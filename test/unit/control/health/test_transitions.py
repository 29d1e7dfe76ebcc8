"""The log lines about the endpoint's health, under a clock of our own."""

from __future__ import annotations

import pytest

from tfsd.control.health.transitions import REPEAT_SECONDS, Transitions


class Said:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        self.caplog = caplog
        self.now = 0.0
        self.transitions = Transitions(lambda: self.now)

    def after(self, seconds: float, missing: str = "", degraded: str = "") -> list[str]:
        self.now += seconds
        self.caplog.clear()
        self.transitions.observe([missing] * bool(missing), [degraded] * bool(degraded))
        return self.caplog.messages


def test_each_change_is_told_once_with_its_reason_and_duration(caplog: pytest.LogCaptureFixture) -> None:
    said = Said(caplog)
    assert said.after(1, "a is down") == []
    assert said.after(2.5) == ["Healthy after 2.5 s."]
    assert said.after(1) == []
    assert said.after(60, "a is down") == ["Not healthy, after 61 s of health: a is down."]
    assert said.after(1, "b is down") == []
    assert said.after(9) == ["Healthy after 10.0 s."]


def test_what_is_degraded_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    said = Said(caplog)
    said.after(1)
    assert said.after(1, degraded="no version 2") == ["Degraded: no version 2."]
    assert said.after(1, degraded="no version 2") == []
    assert said.after(REPEAT_SECONDS, degraded="no version 2") == ["Degraded: no version 2."]
    assert said.after(1) == ["Not degraded any more."]
