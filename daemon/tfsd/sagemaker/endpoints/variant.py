"""A variant of a deployed endpoint: one model on a number of instances, which take requests in turn.

Owns its instances: starting, replacing, adding, removing. Knows nothing of weights against other variants.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

import gevent

from tfsd.sagemaker.endpoints.model_cache import ModelCache
from tfsd.sagemaker.errors import ThrottlingException
from tfsd.sagemaker.instances.instance import Instance, InstanceError, Launcher
from tfsd.sagemaker.log_streams import LogStream
from tfsd.sagemaker.state import now

STARTUP_SECONDS = 240  # hosting contract section 2
DRAIN_SECONDS = 60
MAX_FAILED_PINGS = 3
LEAST_OUTSTANDING = "LEAST_OUTSTANDING_REQUESTS"

log = logging.getLogger(__name__)


class Variant:
    """`definition` is a ProductionVariant of the endpoint's configuration, `model` the record of its model."""

    def __init__(
        self,
        definition: dict[str, Any],
        model: dict[str, Any],
        launcher: Launcher,
        log_stream: Callable[[str], LogStream],
        config_name: str = "",
    ) -> None:
        """`log_stream` gives the stream of an instance, by its name; `config_name` is the configuration's."""
        self.definition, self.model = definition, model
        self.name: str = definition["VariantName"]
        self.weight: float = definition.get("InitialVariantWeight", 1.0)
        self.serverless: dict[str, Any] | None = definition.get("ServerlessConfig")
        self.desired_count: int = 1 if self.serverless else definition.get("InitialInstanceCount", 1)
        self.instances: list[Instance] = []
        self.caches: dict[Instance, ModelCache] = {}
        self.streams: dict[Instance, LogStream] = {}
        self.in_flight = 0
        self.config_name = config_name
        self.least_outstanding = (
            definition.get("RoutingConfig", {}).get("RoutingStrategy") == LEAST_OUTSTANDING
        )
        self.status: dict[str, Any] | None = (
            None  # a ProductionVariantStatus, while something is done with it
        )
        self._launcher, self._log_stream = launcher, log_stream
        self._starting: set[Instance] = set()
        self._stopping = False
        self._next = 0

    @property
    def multi_model(self) -> bool:
        container = self.model.get("PrimaryContainer") or {}
        return container.get("Mode") == "MultiModel"

    @property
    def direct(self) -> bool:
        """Whether requests name one of the containers instead of passing through all."""
        return self.model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct"

    def scale(self) -> None:
        """Start or stop instances until there are `desired_count`. Raises InstanceError; then none is left over."""
        missing = self.desired_count - len(self.instances)
        if missing < 0:
            surplus, self.instances = self.instances[missing:], self.instances[:missing]
            gevent.joinall([gevent.spawn(self._drain, instance) for instance in surplus])
        starts = [gevent.spawn(self._start_one) for _ in range(missing)]
        try:
            gevent.joinall(starts)
        except gevent.GreenletExit:
            gevent.killall(starts)
            raise
        started = [start.value for start in starts if isinstance(start.value, Instance)]
        failures = [start.value for start in starts if isinstance(start.value, InstanceError)]
        if failures:
            gevent.joinall([gevent.spawn(instance.stop) for instance in started])
            raise failures[0]
        self.instances += started

    def mark(self, status: str | None) -> None:
        """Note what is done with it: Creating, Updating, Deleting, ActivatingTraffic, Baking, or nothing."""
        self.status = {"Status": status, "StartTime": now()} if status else None

    def pick(self) -> Instance | None:
        """The next healthy instance in turn, or as RoutingConfig says; None when there is none."""
        count = len(self.instances)
        turn = [self.instances[(self._next + number) % count] for number in range(count)]
        able = [instance for instance in turn if instance.healthy and instance.alive]
        if not able:
            return None
        chosen = min(able, key=lambda instance: instance.in_flight) if self.least_outstanding else able[0]
        self._next = self.instances.index(chosen) + 1
        return chosen

    def enter(self) -> None:
        """Count a request in. Raises ThrottlingException above a serverless variant's MaxConcurrency."""
        if self.serverless and self.in_flight >= self.serverless["MaxConcurrency"]:
            raise ThrottlingException("Rate exceeded: MaxConcurrency of the serverless variant is reached.")
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def heal(self) -> None:
        """Replace instances that have died or do not pass their pings. Called every few seconds; returns at once."""
        for instance in list(self.instances):
            if instance.alive and (instance.check() or instance.failed_pings < MAX_FAILED_PINGS):
                continue
            if instance not in self.instances:  # it was stopped while others were pinged
                continue
            log.warning(
                "An instance of %s is replaced, since it is %s.",
                self.name,
                "unhealthy" if instance.alive else "dead",
            )
            self.instances.remove(instance)
            gevent.spawn(self._replace, instance)

    def stop(self) -> None:
        """Stop all instances, those that are starting too."""
        self._stopping = True
        instances = [*self.instances, *self._starting]
        self.instances = []
        gevent.joinall([gevent.spawn(instance.stop) for instance in instances])

    def drain(self) -> None:
        """Wait for what is in flight, then stop."""
        end = time.monotonic() + DRAIN_SECONDS
        while self.in_flight and time.monotonic() < end:
            gevent.sleep(0.05)
        self.stop()

    def hostname_exists(self, hostname: str) -> bool:
        containers = self.model.get("Containers") or [self.model.get("PrimaryContainer", {})]
        return any(container.get("ContainerHostname") == hostname for container in containers)

    def _start_one(self) -> Instance | InstanceError:
        stream = self._log_stream(f"{self.name}/i-{secrets.token_hex(9)[:17]}")
        instance = self._launcher.instance(self.model, f"production variant {self.name}", stream.write)
        self._starting.add(instance)
        try:
            instance.start(self.definition.get("ModelDataDownloadTimeoutInSeconds", math.inf))
            instance.wait_until_healthy(
                self.definition.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS)
            )
        except InstanceError as error:
            instance.stop()
            return error
        except Exception as error:
            log.exception("An instance of %s did not start: a defect of local SageMaker.", self.name)
            instance.stop()
            return InstanceError(f"{type(error).__name__}: {error}")
        except gevent.GreenletExit:
            instance.stop()
            raise
        finally:
            self._starting.discard(instance)
        self.streams[instance] = stream
        if self.multi_model:
            self.caches[instance] = ModelCache(
                instance, self.model["PrimaryContainer"], self._launcher.objects
            )
        return instance

    def _replace(self, old: Instance) -> None:
        self._forget(old)
        old.stop()
        if self._stopping or len(self.instances) >= self.desired_count:
            return
        new = self._start_one()
        if isinstance(new, InstanceError):
            log.error("A replacement did not start: %s", new)
            gevent.sleep(5)
            if not self._stopping:
                gevent.spawn(self._replace, old)
        elif self._stopping or len(self.instances) >= self.desired_count:
            new.stop()
        else:
            self.instances.append(new)

    def _drain(self, instance: Instance) -> None:
        end = time.monotonic() + DRAIN_SECONDS
        while instance.in_flight and time.monotonic() < end:
            gevent.sleep(0.05)
        self._forget(instance)
        instance.stop()

    def _forget(self, instance: Instance) -> None:
        self.caches.pop(instance, None)
        self.streams.pop(instance, None)
