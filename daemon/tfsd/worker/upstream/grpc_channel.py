"""The gRPC channel from a worker to the model servers of one model, and gRPC under gevent.

Owns the channel's options. Importing this module imports gRPC (17 MB), so whoever may do without imports it late.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from tfsd.worker.upstream.grpc_queue import QueueingChannel

MAX_MESSAGE_BYTES = 2**31 - 1  # protobuf's own limit
ATTEMPTS = 3  # a request that kills its model server must not go on doing so
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5


def connect(ports: Sequence[int], wait: bool = True) -> grpc.Channel:
    """A channel to the model servers on those ports of 127.0.0.1, which take turns; it connects when first used.

    It survives restarts as the pooled HTTP connections do: a call that is cut off is sent again (predictions
    are idempotent) and, with `wait`, one that finds no model server waits for it, for as long as its timeout
    or the request's time limit says. A call's own `wait_for_ready` takes precedence.
    """
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
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
    return QueueingChannel(grpc.insecure_channel(f"ipv4:{addresses}", options))


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
