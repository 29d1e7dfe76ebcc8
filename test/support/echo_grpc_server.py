#!/usr/bin/env python3
"""A gRPC server on a port of this machine that sends back whatever message comes: `core PORT` or `embedded PORT`.

`core` is gRPC's own for asyncio, whose transport is that of tensorflow_model_server; `embedded` is the embedded model
server's, which knows the one method METHOD.
"""

from __future__ import annotations

import asyncio
import sys
import time

import grpc

from tfsd.model_server.rpc.http2_server import Http2Server

METHOD = "/echo.Echo/Echo"


class _Echo(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
    return request


async def _serve_core(port: str) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def _serve_embedded(port: str) -> None:
    Http2Server({METHOD: lambda request, _: request}, [f"127.0.0.1:{port}"], 16).start()
    time.sleep(1e9)


if __name__ == "__main__":
    if sys.argv[1] == "core":
        asyncio.run(_serve_core(sys.argv[2]))
    else:
        _serve_embedded(sys.argv[2])
