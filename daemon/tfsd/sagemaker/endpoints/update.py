"""An update of an endpoint: new instances beside the old ones, traffic that moves by steps, and the way back.

Owns one update from its beginning to its end. What it may wait for, and the steps, are the `Rollout`'s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from tfsd.sagemaker.endpoints.endpoint import Deployment, Endpoint
from tfsd.sagemaker.endpoints.rollout import Rollout, instances
from tfsd.sagemaker.instances.instance import InstanceError
from tfsd.sagemaker.state import now

CHECK_SECONDS = 0.5

log = logging.getLogger(__name__)


class RolledBack(Exception):
    """The old instances serve again, all of them; the text says why."""


class RollbackFailed(Exception):
    """The old instances serve again, but not all could be started; the text says why, and why it was rolled back."""


class Update:
    """`run` does it; meanwhile the new instances are the endpoint's `successor`."""

    def __init__(
        self,
        endpoint: Endpoint,
        old: Deployment,
        new: Deployment,
        rollout: Rollout,
        tripped: Callable[[], str | None],
        moved: Callable[[], None],
        rolling_back: Callable[[str], None],
    ) -> None:
        """The callbacks.

        `tripped` says which alarm has gone off, if any has; `moved` is called when the new instances have taken over,
        `rolling_back` with the reason when that begins.
        """
        self._endpoint, self._old, self._new, self._rollout = endpoint, old, new, rollout
        self._tripped, self._moved, self._rolling_back = tripped, moved, rolling_back
        self._end = time.monotonic() + rollout.limit
        self._full = {
            deployment: {variant: variant.desired_count for variant in deployment.variants.values()}
            for deployment in (old, new)
        }

    def run(self) -> None:
        """Afterwards the new instances serve, and the old ones are gone.

        Raises RolledBack and RollbackFailed; killed, it leaves the old ones in service and stops the new ones.
        """
        self._endpoint.successor, self._endpoint.successor_share = self._new, 0.0
        self._endpoint.update_began = now()
        try:
            try:
                self._move()
            except InstanceError as error:
                self._roll_back(str(error))
                raise RolledBack(str(error)) from error
        except BaseException:
            self._endpoint.successor = None
            self._new.stop()
            raise
        self._endpoint.deployment, self._endpoint.successor = self._new, None
        self._moved()
        self._new.mark(None)
        self._old.mark("Deleting")
        try:
            self._old.drain()
        finally:
            self._old.stop()

    def _move(self) -> None:
        """Raises InstanceError when it must be rolled back."""
        rollout = self._rollout
        self._check()
        if rollout.rolling:
            self._resize(self._new, rollout.shares[0])
        self._new.mark("Creating")
        self._new.start()
        for share in rollout.shares:
            if rollout.rolling:
                self._scale(self._new, share)
            self._shift(share)
            self._bake(rollout.wait)
            if rollout.rolling:
                self._old.mark("Deleting")
                self._scale(self._old, 1 - share)
        self._bake(rollout.termination_wait)

    def _roll_back(self, reason: str) -> None:
        """Raises RollbackFailed."""
        self._rolling_back(reason)
        self._old.mark(None)
        try:
            for share in self._rollout.way_back(self._endpoint.successor_share):
                if self._rollout.rolling:
                    self._scale(self._old, 1 - share)
                self._shift(share)
                if self._rollout.rolling and share:
                    self._scale(self._new, share)
        except InstanceError as error:
            self._shift(0)
            raise RollbackFailed(f"{error} It was rolled back for this reason: {reason}") from error
        finally:
            self._new.mark("Deleting")
            self._new.drain()

    def _shift(self, share: float) -> None:
        self._endpoint.successor_share = share
        self._new.mark("ActivatingTraffic" if share else None)
        if self._rollout.wait or len(self._rollout.shares) > 1:
            log.info(
                "Endpoint %s: %.0f %% of its traffic goes to %s.",
                self._endpoint.record["EndpointName"],
                share * 100,
                self._new.config["EndpointConfigName"],
            )

    def _bake(self, seconds: float) -> None:
        """Wait, and watch the alarms meanwhile. Raises InstanceError."""
        end = time.monotonic() + seconds
        if seconds:
            self._new.mark("Baking")
        self._check()
        while (left := end - time.monotonic()) > 0:
            gevent.sleep(min(left, CHECK_SECONDS))
            self._check()

    def _check(self) -> None:
        reason = self._tripped()
        if reason is None and time.monotonic() > self._end:
            reason = (
                f"The update took longer than MaximumExecutionTimeoutInSeconds ({self._rollout.limit:g})."
            )
        if reason:
            raise InstanceError(reason)

    def _resize(self, deployment: Deployment, share: float) -> None:
        for variant, count in self._full[deployment].items():
            variant.desired_count = instances(share, count)

    def _scale(self, deployment: Deployment, share: float) -> None:
        """Have that share of a deployment's instances run. Raises InstanceError."""
        self._resize(deployment, share)
        for variant in self._full[deployment]:
            variant.scale()
