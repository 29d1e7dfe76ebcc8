"""A rollout: in which steps an update moves the traffic to the new instances, and what is waited for in between.

Owns what a DeploymentConfig means, and refuses what AWS refuses ("Deployment guardrails", "TrafficRoutingConfig",
"RollingUpdatePolicy"). Starts and moves nothing: `update.py` does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tfsd.sagemaker.errors import ValidationException

CANARY, LINEAR = "CANARY", "LINEAR"
STEP_MEMBERS = {CANARY: "CanarySize", LINEAR: "LinearStepSize"}
STEP_RANGES = {CANARY: (0.0, 0.5), LINEAR: (0.1, 0.5)}
ROLLING_RANGE = (0.05, 0.5)
ROUNDING = 1e-9  # of fractions of instances


@dataclasses.dataclass(frozen=True)
class Rollout:
    """All at once and without a pause, unless it says otherwise. Times are in seconds.

    `shares` are what the new instances take of the traffic after each step, the last of them 1. When `rolling`, they
    are also the share of the new instances that run by then, and of the old ones that do not any more.
    """

    shares: tuple[float, ...] = (1.0,)
    wait: float = 0
    termination_wait: float = 0
    limit: float = math.inf
    alarms: tuple[str, ...] = ()
    rolling: bool = False
    rollback_batch: float = 1.0

    def way_back(self, share: float) -> Iterator[float]:
        """The shares of a rollback that begins at `share`; the last is 0."""
        while share > self.rollback_batch + ROUNDING:
            share -= self.rollback_batch
            yield share
        yield 0.0


def instances(share: float, count: int) -> int:
    """How many of `count` instances a share of the capacity is, rounded up."""
    return math.ceil(share * count - ROUNDING)


def planned(
    config: dict[str, Any] | None, old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]
) -> Rollout:
    """What a DeploymentConfig asks for, or nothing does.

    Args:
        config: UpdateEndpoint's DeploymentConfig.
        old, new: the ProductionVariants of the configuration that serves and of the one that shall.

    Raises ValidationException.
    """
    if not config:
        return Rollout()
    names = [sorted(variant["VariantName"] for variant in variants) for variants in (old, new)]
    if names[0] != names[1]:
        raise ValidationException(
            f"An update with a DeploymentConfig needs variants of the same names; the endpoint has "
            f"{', '.join(names[0])}, its new configuration {', '.join(names[1])}."
        )
    alarms = config.get("AutoRollbackConfiguration", {}).get("Alarms", ())
    rollout = Rollout(alarms=tuple(alarm["AlarmName"] for alarm in alarms))
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise ValidationException("A DeploymentConfig has a BlueGreenUpdatePolicy or a RollingUpdatePolicy.")
    if blue_green:
        return _blue_green(rollout, blue_green, new)
    if rolling:
        return _rolling(rollout, rolling, new)
    return rollout


def _blue_green(rollout: Rollout, policy: dict[str, Any], variants: Sequence[dict[str, Any]]) -> Rollout:
    routing = policy["TrafficRoutingConfiguration"]
    kind = routing["Type"]
    shares: tuple[float, ...] = (1.0,)
    if kind in STEP_MEMBERS:
        member = STEP_MEMBERS[kind]
        if member not in routing:
            raise ValidationException(f"A TrafficRoutingConfiguration of the Type {kind} needs {member}.")
        step = _fraction(member, routing[member], variants, *STEP_RANGES[kind])
        shares = (step, 1.0) if kind == CANARY else _steps(step)
    return dataclasses.replace(
        rollout,
        shares=shares,
        wait=routing["WaitIntervalInSeconds"],
        termination_wait=policy.get("TerminationWaitInSeconds", 0),
        limit=policy.get("MaximumExecutionTimeoutInSeconds", math.inf),
    )


def _rolling(rollout: Rollout, policy: dict[str, Any], variants: Sequence[dict[str, Any]]) -> Rollout:
    """Serverless and several variants fall back to all at once, as AWS's "Exclusions" say."""
    step = _fraction("MaximumBatchSize", policy["MaximumBatchSize"], variants, *ROLLING_RANGE)
    back = policy.get("RollbackMaximumBatchSize")
    if len(variants) > 1 or "ServerlessConfig" in variants[0]:
        return Rollout()
    return dataclasses.replace(
        rollout,
        shares=_steps(step),
        wait=policy["WaitIntervalInSeconds"],
        limit=policy.get("MaximumExecutionTimeoutInSeconds", math.inf),
        rolling=True,
        rollback_batch=_fraction("RollbackMaximumBatchSize", back, variants, 0.0, 1.0) if back else 1.0,
    )


def _steps(step: float) -> tuple[float, ...]:
    count = math.ceil(1 / step - ROUNDING)
    return (*(min(number * step, 1.0) for number in range(1, count)), 1.0)


def _fraction(
    member: str, size: dict[str, Any], variants: Sequence[dict[str, Any]], low: float, high: float
) -> float:
    """A CapacitySize as a part of all instances."""
    count = sum(variant.get("InitialInstanceCount", 1) for variant in variants)
    fraction: float = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else count)
    if not low <= fraction <= high + ROUNDING:
        raise ValidationException(
            f"{member} must be between {low * 100:g} and {high * 100:g} % of the variant's instances; "
            f"{size['Value']} is {fraction * 100:g} %."
            if low
            else f"{member} must be at most {high * 100:g} % of the variant's instances; "
            f"{size['Value']} is {fraction * 100:g} %."
        )
    return fraction
