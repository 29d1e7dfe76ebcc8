"""A live endpoint: its variants, which take requests by weight, and the instances behind each.

Owns the choice of variant and instance for a request. What the API says of an endpoint is its record in `State`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent

from tfsd.sagemaker.endpoints.model_cache import LoadedModel, ModelCache
from tfsd.sagemaker.endpoints.variant import Variant
from tfsd.sagemaker.errors import AwsError, ModelError, ServiceUnavailable, ValidationError
from tfsd.sagemaker.instances.http_client import Response
from tfsd.sagemaker.instances.instance import Instance, InstanceError
from tfsd.sagemaker.state import ACCOUNT

MAX_SHADOW_REQUESTS = 64  # in flight; more are not copied
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)
CUT_SHORT = "The container closed the connection before the end of its response."


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One request to an endpoint: `headers` are those that the container gets, besides them what routes it."""

    body: bytes | Iterable[bytes]
    headers: Mapping[str, str]
    target_variant: str | None = None
    target_model: str | None = None
    target_container: str | None = None
    seconds: float = 60


class Deployment:
    """The variants of one endpoint configuration, with their instances."""

    def __init__(self, config: dict[str, Any], variants: list[Variant], shadows: list[Variant]) -> None:
        self.config = config
        self.variants = {variant.name: variant for variant in variants}
        self.shadows = shadows

    @property
    def everything(self) -> list[Variant]:
        return [*self.variants.values(), *self.shadows]

    def start(self) -> None:
        """Start all instances. Raises InstanceError of the first that fails; then none is left."""
        starts = [gevent.spawn(_outcome, variant.scale) for variant in self.everything]
        try:
            gevent.joinall(starts)
        except gevent.GreenletExit:
            gevent.killall(starts)
            raise
        failures = [start.value for start in starts if start.value]
        if failures:
            self.stop()
            raise failures[0]

    def stop(self) -> None:
        gevent.joinall([gevent.spawn(variant.stop) for variant in self.everything])

    def drain(self) -> None:
        """Wait for the requests in flight, then stop."""
        gevent.joinall([gevent.spawn(variant.drain) for variant in self.everything])

    def heal(self) -> None:
        for variant in self.everything:
            variant.heal()

    def mark(self, status: str | None) -> None:
        """Note what is done with all variants, as VariantStatus has it; None when nothing is."""
        for variant in self.everything:
            variant.mark(status)


class Endpoint:
    """Found by `emulator.endpoints.find(name)`; `record` is that of `State.endpoints`.

    While an update is under way, `successor` is what it starts, and takes that share of the traffic.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.deployment: Deployment | None = None
        self.successor: Deployment | None = None
        self.successor_share = 0.0
        self.update_began = 0.0  # seconds since the epoch
        self.task: gevent.Greenlet | None = None
        self._shadow_requests = 0

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that serves now. Raises ValidationError while none does."""
        return self._serving().config

    def invoke(self, invocation: Invocation) -> tuple[Variant, Response]:
        """`choose` and `send` in one."""
        variant = self.choose(invocation)
        return variant, self.send(variant, invocation)

    def choose(self, invocation: Invocation) -> Variant:
        """The variant that an invocation is for. Raises AwsError: ValidationError for one that is not there."""
        deployment = self._serving()
        if self.successor is not None and random.random() < self.successor_share:
            deployment = self.successor
        variant = self._choose(deployment, invocation)
        self._check_targets(variant, invocation)
        return variant

    def send(self, variant: Variant, invocation: Invocation) -> Response:
        """The container's answer, an error status included. Raises AwsError: ModelError when none comes, and so on."""
        variant.enter()
        try:
            response = self._send(variant, invocation)
        except BaseException:
            variant.leave()
            raise
        response.at_end(variant.leave)
        self._copy_to_shadows(variant, invocation)
        return response

    def model_error(self, variant: Variant, response: Response, hostname: str = "primary") -> ModelError:
        """What a client gets for a container's 4xx or 5xx answer."""
        text = self.read(variant, response).decode("utf-8", "replace")
        return self._model_error(variant, response.status, text, hostname)

    def read(self, variant: Variant, response: Response) -> bytes:
        """All of a container's answer. Raises ModelError when its end does not come."""
        try:
            return response.read()
        except TimeoutError as error:
            raise self._model_error(variant, 0, TIMED_OUT) from error
        except OSError as error:
            raise self._model_error(variant, 0, CUT_SHORT) from error

    def _serving(self) -> Deployment:
        if self.deployment is None:
            raise ValidationError(f"Endpoint {self.record['EndpointName']} of account {ACCOUNT} not found.")
        return self.deployment

    def _choose(self, deployment: Deployment, invocation: Invocation) -> Variant:
        if invocation.target_variant is not None:
            variant = deployment.variants.get(invocation.target_variant)
            if variant is None:
                raise ValidationError(
                    f"Variant {invocation.target_variant} was not found on endpoint {self.record['EndpointName']}; "
                    f"it has {', '.join(deployment.variants)}."
                )
            return variant
        variants = list(deployment.variants.values())
        if len(variants) == 1:
            return variants[0]
        weights = [variant.weight for variant in variants]
        if not any(weights):
            raise ServiceUnavailable("All variants of this endpoint have the weight 0.")
        return random.choices(variants, weights)[0]

    def _check_targets(self, variant: Variant, invocation: Invocation) -> None:
        if variant.multi_model != (invocation.target_model is not None):
            raise ValidationError(
                "This is a multi-model endpoint: say which model to invoke with TargetModel."
                if variant.multi_model
                else f"TargetModel is only accepted by multi-model endpoints, which {variant.name} is not."
            )
        if variant.direct != (invocation.target_container is not None):
            raise ValidationError(
                "The model's containers are invoked directly: say which one with TargetContainerHostname."
                if variant.direct
                else "TargetContainerHostname needs a model whose InferenceExecutionConfig has the Mode Direct."
            )
        if invocation.target_container is not None and not variant.hostname_exists(
            invocation.target_container
        ):
            raise ValidationError(f"{variant.name} has no container named {invocation.target_container}.")

    def _send(self, variant: Variant, invocation: Invocation) -> Response:
        """Send to an instance; to another one when a connection is refused. Raises AwsError."""
        for _ in range(max(len(variant.instances), 1)):
            instance = self._instance(variant, invocation)
            if instance is None:
                break
            try:
                return self._send_to(variant, instance, invocation)
            except ConnectionRefusedError:
                instance.healthy = False
            except TimeoutError as error:
                raise self._model_error(variant, 0, TIMED_OUT) from error
            except OSError as error:
                text = "The container closed the connection without a response."
                raise self._model_error(variant, 0, text) from error
        raise ServiceUnavailable(f"No instance of the variant {variant.name} is healthy; try again.")

    def _instance(self, variant: Variant, invocation: Invocation) -> Instance | None:
        """For a multi-model variant one that has the model already, or else the one with the fewest models."""
        if invocation.target_model is None:
            return variant.pick()
        caches = [(cache, instance) for instance, cache in variant.caches.items() if instance.healthy]
        having = [instance for cache, instance in caches if invocation.target_model in cache]
        if having:
            return random.choice(having)
        return min(caches, key=lambda pair: len(pair[0]))[1] if caches else None

    def _send_to(self, variant: Variant, instance: Instance, invocation: Invocation) -> Response:
        cache: ModelCache | None = variant.caches.get(instance)
        model: LoadedModel | None = None
        path = "/invocations"
        if cache is not None and invocation.target_model is not None:
            model = cache.enter(invocation.target_model, invocation.seconds)
            path = model.path
        instance.in_flight += 1

        def leave() -> None:
            instance.in_flight -= 1
            if cache is not None and model is not None:
                cache.leave(model)

        try:
            response = instance.invoke(
                invocation.body, invocation.headers, invocation.seconds, path, invocation.target_container
            )
        except BaseException:
            leave()
            raise
        response.at_end(leave)
        return response

    def _copy_to_shadows(self, variant: Variant, invocation: Invocation) -> None:
        """Send a copy to each shadow variant, as often as its weight says against the variant's; nobody waits."""
        if not isinstance(invocation.body, bytes):
            return
        for shadow in self._beside(variant):
            share = shadow.weight / variant.weight if variant.weight else 1.0
            if random.random() < share and self._shadow_requests < MAX_SHADOW_REQUESTS:
                gevent.spawn(self._shadow, shadow, invocation)

    def _beside(self, variant: Variant) -> list[Variant]:
        """The shadows of the deployment that a variant belongs to."""
        found = (each for each in (self.successor, self.deployment) if each and variant in each.everything)
        deployment = next(found, None)
        return deployment.shadows if deployment else []

    def _shadow(self, shadow: Variant, invocation: Invocation) -> None:
        self._shadow_requests += 1
        try:
            self._send(shadow, invocation).read()
        except (AwsError, OSError):
            pass  # its log has it; the client never hears of it
        finally:
            self._shadow_requests -= 1

    def _model_error(self, variant: Variant, status: int, text: str, hostname: str = "primary") -> ModelError:
        region, name = self.record["EndpointArn"].split(":")[3], self.record["EndpointName"]
        side = "client" if 400 <= status < 500 else "server"
        stream = next(iter(variant.streams.values()), None)
        return ModelError(
            f'Received {side} error ({status}) from {hostname} with message "{text}". See '
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:"
            f"group=/aws/sagemaker/Endpoints/{name} in account {ACCOUNT} for more information.",
            OriginalStatusCode=status,
            OriginalMessage=text,
            LogStreamArn=stream.arn if stream else None,
        )


def _outcome(function: Callable[[], None]) -> Exception | None:
    """The InstanceError of a start, as a value."""
    try:
        function()
    except InstanceError as error:
        return error
    return None
