"""gRPC's own channel to the model servers of one model, for what `grpc_channel` does not do itself.

Owns its options: like ours it survives restarts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from tfsd.plan import ModelServer
from tfsd.worker.upstream.grpc_answer import MAX_MESSAGE_BYTES

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5


def connect(servers: Sequence[ModelServer], wait: bool) -> grpc.Channel:
    """A channel to the model servers; with `wait`, calls wait for them.

    gRPC's names take many ports but one unix socket, so ports are preferred: of several sockets, the first is used.
    """
    ports = [server.grpc_port for server in servers if server.grpc_port]
    if servers and not ports:
        target = servers[0].grpc_target
    else:
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(_service_config(wait))),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),  # what is larger is not sent again
        ("grpc.initial_reconnect_backoff_ms", int(FIRST_PAUSE_SECONDS * 1000)),
        ("grpc.min_reconnect_backoff_ms", 1000),  # this one is how long a connection may take
        ("grpc.max_reconnect_backoff_ms", int(MAX_PAUSE_SECONDS * 1000)),
        ("grpc.enable_http_proxy", 0),  # http_proxy in the environment is for other hosts
    ]
    return grpc.insecure_channel(target, options)


def _service_config(wait: bool) -> dict[str, object]:
    """See gRPC's service_config.proto; one name without a service means all methods."""
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "waitForReady": wait,
                "retryPolicy": {
                    "maxAttempts": ATTEMPTS,
                    "initialBackoff": f"{FIRST_PAUSE_SECONDS}s",
                    "maxBackoff": f"{MAX_PAUSE_SECONDS}s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
