"""Having a running model server serve other models: HandleReloadConfigRequest of its gRPC ModelService.

Owns the call. gRPC blocks its thread, so each call has one; both gRPC and the messages (30 MB) are imported when
they are needed first, which is never as long as each model has a model server of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from gevent.threadpool import ThreadPool

from tfsd.plan import Model, ModelServer
from tfsd.stack import multi_model

MAX_CONCURRENT_CALLS = 64
METHOD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


class LoadRefused(Exception):
    """The model server cannot load the model; the text is its own."""


class NotAnswering(Exception):
    """The model server is not there, or hung up."""


class Hangs(Exception):
    """The model server is there and does not come to an end of the reload."""


class Reloader:
    """Reloads configurations, each in a thread of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPool(MAX_CONCURRENT_CALLS)

    def __call__(self, server: ModelServer, models: Sequence[Model], timeout: float) -> None:
        """Have `server` serve exactly `models`; returns when it does, within `timeout` seconds.

        Raises LoadRefused, NotAnswering, Hangs.
        """
        self._threads.apply(reload, (server.grpc_target, multi_model.models_text(models), timeout))


def reload(target: str, config: str, timeout: float) -> None:
    """Hand a configuration (text, as in --model_config_file) to the model server at a gRPC target. Blocks."""
    from tfsd.protos import packages

    packages.install()
    # Control forks meanwhile, to prepare the code of other models; gRPC's own handlers would abort the child.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    import grpc
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config, request.config)
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(target, options) as channel:
        call = channel.unary_unary(
            METHOD,
            model_management_pb2.ReloadConfigRequest.SerializeToString,
            model_management_pb2.ReloadConfigResponse.FromString,
        )
        try:
            answer = call(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise NotAnswering(str(error.details())) from None
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Hangs(f"no response to a reload of its configuration for {timeout:g} s") from None
            raise LoadRefused(str(error.details())) from None
    if answer.status.error_code:
        raise LoadRefused(answer.status.error_message)
