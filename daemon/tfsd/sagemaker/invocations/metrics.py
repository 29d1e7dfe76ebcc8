"""Invocation metrics in moto's CloudWatch, under SageMaker's names: namespace AWS/SageMaker, one data point a minute.

A minute's values are added up in one data point of each metric, so that many invocations cost no more memory than few.
Names and units are those of "Monitor Amazon SageMaker with Amazon CloudWatch".
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from moto.cloudwatch.models import MetricAggregatedDatum

NAMESPACE = "AWS/SageMaker"
COUNT, MICROSECONDS = "None", "Microseconds"
NOTHING: tuple[int, Any] = (0, None)
OF_FLEET = 3  # dimensions: the endpoint's name, the variant's, the configuration's


class Metrics:
    """`backends` is moto's CloudWatch, by account, then region."""

    def __init__(self, backends: Any, account: str) -> None:
        self._backends, self._account = backends, account
        self._points: dict[tuple[Any, ...], tuple[int, Any]] = {}  # with the minute that each is of

    def invocation(
        self,
        region: str,
        endpoint: str,
        variant: str,
        config: str,
        *,
        status: int,
        instances: int,
        model_seconds: float,
        overhead_seconds: float,
    ) -> None:
        """One invocation: the status that the container answered, and the time that it and we took.

        `config` is the name of the endpoint's configuration, by which alarms tell the fleets of an update apart.
        """
        dimensions = {"EndpointName": endpoint, "VariantName": variant}
        of_fleet = {**dimensions, "EndpointConfigName": config}
        values = {
            "Invocations": (1.0, COUNT),
            "InvocationsPerInstance": (1 / max(instances, 1), COUNT),
            "Invocation4XXErrors": (float(400 <= status < 500), COUNT),
            "Invocation5XXErrors": (float(status >= 500), COUNT),
            "InvocationModelErrors": (float(not 200 <= status < 300), COUNT),
            "ModelLatency": (model_seconds * 1e6, MICROSECONDS),
            "OverheadLatency": (overhead_seconds * 1e6, MICROSECONDS),
        }
        for name, (value, unit) in values.items():
            self.add(region, name, value, unit, dimensions)
            self.add(region, name, value, unit, of_fleet)

    def add(self, region: str, name: str, value: float, unit: str, dimensions: Mapping[str, str]) -> None:
        """Add a value to this minute's data point of a metric."""
        minute = int(time.time()) // 60
        key = (region, name, *dimensions.values())
        begun, point = self._points.get(key, NOTHING)
        if begun != minute:
            point = self._new_point(region, name, value, unit, dimensions, minute)
            self._points[key] = minute, point
            return
        point.sum += value
        point.min = min(point.min, value)
        point.max = max(point.max, value)
        point.sample_count += 1

    def _new_point(
        self,
        region: str,
        name: str,
        value: float,
        unit: str,
        dimensions: Mapping[str, str],
        minute: int,
    ) -> Any:
        moment = datetime.datetime.fromtimestamp(minute * 60, datetime.UTC).replace(tzinfo=None)
        point = DataPoint(
            NAMESPACE,
            name,
            min_stat=value,
            max_stat=value,
            sum_stat=value,
            sample_count=1,
            dimensions=[{"Name": key, "Value": text} for key, text in dimensions.items()],
            timestamp=moment,
            unit=unit,
        )
        self._backends[self._account][region].metric_data.append(point)
        return point


class DataPoint(MetricAggregatedDatum):
    """moto's. One of a fleet's (three dimensions) is not counted once more by who asks for less dimensions."""

    def filter(self, namespace: Any, name: Any, dimensions: Any, already_present_metrics: Any = None) -> bool:
        if len(self.dimensions) == OF_FLEET and dimensions and len(dimensions) < OF_FLEET:
            return False
        return bool(super().filter(namespace, name, dimensions, already_present_metrics))
