"""Alarms of CloudWatch that an update watches: their state in moto, brought up to date by what they measure.

moto keeps alarms and never looks at them. An alarm of one metric with a plain statistic is evaluated here, as
"Using Amazon CloudWatch alarms" says; any other is in the state that somebody has set with SetAlarmState.
"""

from __future__ import annotations

import datetime
import json
import operator
from collections.abc import Callable, Iterable
from typing import Any

from moto.cloudwatch.models import Statistics

from tfsd.sagemaker.errors import ValidationException

STATISTICS = frozenset({"SampleCount", "Average", "Sum", "Minimum", "Maximum"})
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
SIGNS = dict(zip(COMPARISONS, (">=", ">", "<", "<="), strict=True))
EVALUATED = "Threshold Crossed: "  # how the reason of a state begins that was found here


class Alarms:
    """`backends` is moto's CloudWatch, by account, then region; `clock` gives UTC without a zone, as moto has it."""

    def __init__(
        self,
        backends: Any,
        account: str,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC).replace(
            tzinfo=None
        ),
    ) -> None:
        self._backends, self._account, self._clock = backends, account, clock

    def refuse_unknown(self, region: str, names: Iterable[str]) -> None:
        """Raises ValidationException for an alarm that is not there."""
        for name in names:
            if name not in self._backends[self._account][region].alarms:
                raise ValidationException(f"Could not find CloudWatch alarm {name!r} in {region}.")

    def tripped(self, region: str, names: Iterable[str]) -> str | None:
        """The first alarm that is in the state ALARM, in a sentence; None if none is."""
        backend = self._backends[self._account][region]
        for name in names:
            alarm = backend.alarms.get(name)
            if alarm is None:
                continue  # it was deleted since
            self._evaluate(backend, alarm)
            if alarm.state_value == "ALARM":
                return f"The CloudWatch alarm {name} is in the state ALARM: {alarm.state_reason}"
        return None

    def _evaluate(self, backend: Any, alarm: Any) -> None:
        """Set an alarm's state by its metric; one that somebody has set to ALARM stays so."""
        by_hand = alarm.state_value == "ALARM" and not alarm.state_reason.startswith(EVALUATED)
        if by_hand or alarm.statistic not in STATISTICS or alarm.comparison_operator not in COMPARISONS:
            return
        reason = self._breach(backend.metric_data, alarm)
        state = "ALARM" if reason else "OK"
        if state != alarm.state_value:
            backend.set_alarm_state(
                alarm.name, EVALUATED + (reason or "not any more."), json.dumps({"version": "1.0"}), state
            )

    def _breach(self, data: list[Any], alarm: Any) -> str | None:
        """Why the alarm goes off, if DatapointsToAlarm of its last EvaluationPeriods are beyond the threshold."""
        values = self._values(data, alarm)
        compare = COMPARISONS[alarm.comparison_operator]
        missing_breaches = alarm.treat_missing_data == "breaching"
        beyond = [
            missing_breaches if value is None else compare(value, float(alarm.threshold)) for value in values
        ]
        if sum(beyond) < int(alarm.datapoints_to_alarm or alarm.evaluation_periods):
            return None
        seen = ", ".join("nothing" if value is None else f"{value:g}" for value in values)
        return (
            f"{alarm.statistic} of {alarm.metric_name} is {SIGNS[alarm.comparison_operator]} "
            f"{float(alarm.threshold):g} in {sum(beyond)} of {len(values)} periods ({seen})."
        )

    def _values(self, data: list[Any], alarm: Any) -> list[float | None]:
        """The statistic of the last periods, latest first. The one that is not over yet counts once it has data."""
        period = datetime.timedelta(seconds=int(alarm.period))
        epoch = datetime.datetime(1970, 1, 1)
        latest = self._clock() - (self._clock() - epoch) % period
        starts = [latest - number * period for number in range(int(alarm.evaluation_periods) + 1)]
        mine = [
            datum
            for datum in data
            if (datum.namespace, datum.name) == (alarm.namespace, alarm.metric_name)
            and sorted(datum.dimensions) == sorted(alarm.dimensions)
        ]
        values = [_statistic(mine, alarm.statistic, start, start + period) for start in starts]
        return values[1:] if values[0] is None else values[:-1]


def _statistic(data: list[Any], name: str, start: datetime.datetime, end: datetime.datetime) -> float | None:
    statistics = Statistics([name], start)
    statistics.metric_data = [datum for datum in data if start <= _utc(datum.timestamp) < end]
    if not statistics.metric_data:
        return None
    value = statistics.get_statistics_for_type(name)
    return None if value is None else float(value)


def _utc(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(datetime.UTC).replace(tzinfo=None)
