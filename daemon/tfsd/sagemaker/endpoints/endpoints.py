"""All endpoints: what CreateEndpoint, UpdateEndpoint and the rest set going, and the statuses on the way.

Owns `State.endpoints` and the live endpoints. One operation at a time works on an endpoint, in the background; its
record says how far it is, and why it failed.
"""

from __future__ import annotations

import copy
import logging
import time
from typing import Any

import gevent

from tfsd.sagemaker.endpoints.alarms import Alarms
from tfsd.sagemaker.endpoints.endpoint import Deployment, Endpoint
from tfsd.sagemaker.endpoints.rollout import Rollout, planned
from tfsd.sagemaker.endpoints.update import RollbackFailed, RolledBack, Update
from tfsd.sagemaker.endpoints.variant import Variant
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.instances.instance import InstanceError, Launcher
from tfsd.sagemaker.log_streams import LogStream, LogStreams
from tfsd.sagemaker.state import Record, State, now

CHECK_SECONDS = 5
MAX_REASON_CHARACTERS = 1024
UNDER_WAY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})

log = logging.getLogger(__name__)


class Endpoints:
    """By name. `find` is for the runtime; the other methods begin what the control plane asks for."""

    def __init__(self, state: State, launcher: Launcher, log_streams: LogStreams, alarms: Alarms) -> None:
        self._state, self._launcher, self._log_streams, self._alarms = state, launcher, log_streams, alarms
        self._live: dict[str, Endpoint] = {}
        self._healing = gevent.spawn(self._heal)

    def find(self, name: str) -> Endpoint | None:
        return self._live.get(name)

    def create(self, record: Record, config: Record) -> None:
        """Start an endpoint whose record is new.

        Raises ValidationException for a model that is not there, OSError for a record that cannot be written.
        """
        record["Deployment"] = self._snapshot(config)
        record["EndpointStatus"] = "Creating"
        self._state.endpoints.put(record["EndpointName"], record)
        self._begin(Endpoint(record), "Creating", self._deploy_first)

    def update(
        self,
        endpoint: Endpoint,
        config: Record,
        kept: dict[str, dict[str, Any]],
        keeps_capture: bool = False,
        deployment_config: dict[str, Any] | None = None,
    ) -> None:
        """Move an endpoint to another configuration, as a DeploymentConfig says.

        `kept` has weights and counts to carry over, by variant; with `keeps_capture` its data capture stays as it is.
        Raises ValidationException.
        """
        self._refuse_under_way(endpoint)
        snapshot = self._snapshot(config)
        for definition in snapshot["Config"]["ProductionVariants"]:
            definition.update(kept.get(definition["VariantName"], {}))
        if keeps_capture:
            capture = endpoint.record["Deployment"]["Config"].get("DataCaptureConfig")
            snapshot["Config"]["DataCaptureConfig"] = copy.deepcopy(capture)
        before = endpoint.record["Deployment"]["Config"]["ProductionVariants"]
        rollout = planned(deployment_config, before, snapshot["Config"]["ProductionVariants"])
        self._alarms.refuse_unknown(_region(endpoint.record), rollout.alarms)
        if deployment_config:
            endpoint.record["LastDeploymentConfig"] = deployment_config
        self._begin(endpoint, "Updating", self._redeploy, snapshot, rollout)

    def scale(self, endpoint: Endpoint, changes: dict[str, dict[str, Any]]) -> None:
        """Change weights and serverless limits (at once) and instance counts; `changes` are by variant, then member."""
        self._refuse_under_way(endpoint)
        self._begin(endpoint, "Updating", self._scale, changes)

    def delete(self, endpoint: Endpoint) -> None:
        """Stop whatever is going on and all instances; then the endpoint is gone."""
        if endpoint.record["EndpointStatus"] == "Deleting":
            self._refuse_under_way(endpoint)
        self._begin(endpoint, "Deleting", self._remove)

    def restore(self) -> None:
        """After a restart: start again what was there."""
        for record in self._state.endpoints:
            endpoint = Endpoint(record)
            status = record["EndpointStatus"]
            if status == "Deleting":
                self._begin(endpoint, status, self._remove)
            elif status == "Failed":
                self._live[record["EndpointName"]] = endpoint
            else:
                self._begin(
                    endpoint, "Creating" if status == "Creating" else "SystemUpdating", self._deploy_first
                )

    def stop(self) -> None:
        """Stop all instances; the records stay as they are, for `restore`."""
        self._healing.kill()
        for endpoint in list(self._live.values()):  # one may go while another is waited for
            if endpoint.task is not None:
                endpoint.task.kill()
        deployments = [endpoint.deployment for endpoint in self._live.values() if endpoint.deployment]
        gevent.joinall([gevent.spawn(deployment.stop) for deployment in deployments])

    def _begin(self, endpoint: Endpoint, status: str, work: Any, *arguments: Any) -> None:
        self._live[endpoint.record["EndpointName"]] = endpoint
        self._set(endpoint, status)
        endpoint.task = gevent.spawn(self._work, endpoint, endpoint.task, work, *arguments)

    def _work(self, endpoint: Endpoint, before: gevent.Greenlet | None, work: Any, *arguments: Any) -> None:
        try:
            if before is not None:
                before.kill()  # waits until it has stopped what it was starting
            work(endpoint, *arguments)
        except Exception as error:
            log.exception("Endpoint %s failed: a defect of local SageMaker.", endpoint.record["EndpointName"])
            self._set(endpoint, "Failed", f"{type(error).__name__}: {error}")

    def _deploy_first(self, endpoint: Endpoint) -> None:
        name = endpoint.record["EndpointName"]
        deployment = self._deployment(endpoint.record, endpoint.record["Deployment"])
        began = time.monotonic()
        deployment.mark("Creating")
        try:
            deployment.start()
        except InstanceError as error:
            log.error("Endpoint %s failed: %s", name, error)
            self._set(endpoint, "Failed", str(error))
            return
        except gevent.GreenletExit:
            deployment.stop()
            raise
        deployment.mark(None)
        endpoint.deployment = deployment
        self._set(endpoint, "InService")
        log.info("Endpoint %s is in service after %.1f s.", name, time.monotonic() - began)

    def _redeploy(self, endpoint: Endpoint, snapshot: Record, rollout: Rollout) -> None:
        """Start the new instances beside the old ones, move the traffic, drain the old ones; or undo all that."""
        name, region = endpoint.record["EndpointName"], _region(endpoint.record)
        new, old = self._deployment(endpoint.record, snapshot), endpoint.deployment
        if old is None:  # it has failed
            endpoint.record["Deployment"] = snapshot
            endpoint.record["EndpointConfigName"] = new.config["EndpointConfigName"]
            self._deploy_first(endpoint)
            return

        def moved() -> None:
            endpoint.record["Deployment"] = snapshot
            endpoint.record["EndpointConfigName"] = new.config["EndpointConfigName"]

        def rolling_back(reason: str) -> None:
            log.error("The update of endpoint %s is rolled back: %s", name, reason)
            self._set(endpoint, "RollingBack", reason)

        update = Update(
            endpoint,
            old,
            new,
            rollout,
            lambda: self._alarms.tripped(region, rollout.alarms),
            moved,
            rolling_back,
        )
        try:
            update.run()
        except RolledBack as error:
            self._set(endpoint, "InService", str(error))
        except RollbackFailed as error:
            log.error("The rollback of endpoint %s failed: %s", name, error)
            self._set(endpoint, "UpdateRollbackFailed", str(error))
        else:
            self._set(endpoint, "InService")
            log.info("Endpoint %s is updated to %s.", name, endpoint.record["EndpointConfigName"])

    def _scale(self, endpoint: Endpoint, changes: dict[str, dict[str, Any]]) -> None:
        deployment = endpoint.deployment
        assert deployment
        for name, change in changes.items():
            variant = deployment.variants[name]
            variant.weight = change.get("InitialVariantWeight", variant.weight)
            variant.desired_count = change.get("InitialInstanceCount", variant.desired_count)
            variant.serverless = change.get("ServerlessConfig", variant.serverless)
            variant.definition.update(change)
            variant.mark("Updating")
        failure = None
        for variant in deployment.variants.values():
            try:
                variant.scale()
            except InstanceError as error:
                failure = str(error)
                variant.desired_count = variant.definition["InitialInstanceCount"] = len(variant.instances)
        deployment.mark(None)
        self._set(endpoint, "InService", failure)

    def _remove(self, endpoint: Endpoint) -> None:
        name = endpoint.record["EndpointName"]
        deployment, endpoint.deployment = endpoint.deployment, None
        if deployment:
            deployment.stop()
        self._live.pop(name, None)
        self._state.endpoints.delete(name)
        log.info("Endpoint %s is deleted.", name)

    def _set(self, endpoint: Endpoint, status: str, reason: str | None = None) -> None:
        record = endpoint.record
        record["EndpointStatus"] = status
        record["LastModifiedTime"] = now()
        record["FailureReason"] = reason[:MAX_REASON_CHARACTERS] if reason else None
        try:
            self._state.endpoints.put(record["EndpointName"], record)
        except OSError as error:  # a full disk stops nothing: least of all the deletion that makes room
            log.error("The status of endpoint %s cannot be written: %s.", record["EndpointName"], error)

    def _refuse_under_way(self, endpoint: Endpoint) -> None:
        if endpoint.record["EndpointStatus"] in UNDER_WAY:
            raise ValidationException(
                f'Cannot update in-progress endpoint "{endpoint.record["EndpointArn"]}".'
            )

    def _snapshot(self, config: Record) -> Record:
        """What an endpoint is made from, kept with it: configuration and models may be deleted meanwhile."""
        models = {}
        for definition in [*config["ProductionVariants"], *config.get("ShadowProductionVariants", ())]:
            model = self._state.models.get(definition.get("ModelName", ""))
            if model is None:
                arn = config["EndpointConfigArn"].rpartition(":")[0]
                raise ValidationException(
                    f'Could not find model "{arn}:model/{definition.get("ModelName", "")}".'
                )
            models[model["ModelName"]] = model
        return copy.deepcopy({"Config": config, "Models": models})

    def _deployment(self, record: Record, snapshot: Record) -> Deployment:
        region, group = _region(record), f"/aws/sagemaker/Endpoints/{record['EndpointName']}"
        config_name = snapshot["Config"]["EndpointConfigName"]

        def log_stream(name: str) -> LogStream:
            return self._log_streams.open(region, group, name)

        def variants(kind: str) -> list[Variant]:
            return [
                Variant(
                    definition,
                    snapshot["Models"][definition["ModelName"]],
                    self._launcher,
                    log_stream,
                    config_name,
                )
                for definition in snapshot["Config"].get(kind, ())
            ]

        production, shadows = variants("ProductionVariants"), variants("ShadowProductionVariants")
        if "AsyncInferenceConfig" in snapshot["Config"]:  # MaxConcurrentInvocationsPerInstance is of each
            for variant in production:
                variant.least_outstanding = True
        return Deployment(snapshot["Config"], production, shadows)

    def _heal(self) -> None:
        while True:
            gevent.sleep(CHECK_SECONDS)
            for endpoint in list(self._live.values()):
                for deployment in (endpoint.deployment, endpoint.successor):
                    if deployment is not None:
                        gevent.spawn(deployment.heal)


def _region(record: Record) -> str:
    return str(record["EndpointArn"].split(":")[3])
