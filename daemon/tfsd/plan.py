"""The plan of a running stack: which models, model servers and worker pools there are, and where they listen.

`stack` makes it, workers and control read it. It is one JSON file in the run directory; this module owns its format.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tfsd.run_dir import RunDir, replace

MAX_VERSION = 2**63 - 1  # TensorFlow Serving keeps versions as int64
MAX_GRPC_CALLS = 64  # that a worker has under way with one model; more wait in the worker
DEFAULT_POOL = "default"  # of the models that have no user code


@dataclasses.dataclass(frozen=True)
class ModelServer:
    """One model server process: its supervisord program and its ports on 127.0.0.1.

    Its gRPC API listens at `grpc_port` where that is not 0, and on the unix socket `grpc_socket` where that is not "":
    one of them there is. Workers prefer the socket, where a call costs less CPU.
    """

    program: str
    rest_port: int
    grpc_port: int
    grpc_socket: str = ""

    @property
    def ports(self) -> set[int]:
        """The ports that it opens."""
        return {self.rest_port, self.grpc_port} - {0}

    @property
    def grpc_target(self) -> str:
        """Where gRPC's own channels find it, in gRPC's naming (grpc/doc/naming.md)."""
        return f"ipv4:127.0.0.1:{self.grpc_port}" if self.grpc_port else f"unix:{self.grpc_socket}"

    def moved(self, grpc_port: int, rest_port: int) -> ModelServer:
        """The same with other ports, as far as it has any."""
        grpc_port = grpc_port if self.grpc_port else 0
        return dataclasses.replace(self, grpc_port=grpc_port, rest_port=rest_port)


@dataclasses.dataclass(frozen=True)
class Model:
    """A servable: `base_path` holds the version directories; `versions` ascend; `pool` names its workers.

    `url` is what the platform calls its directory, in multi-model mode. `left_out` are versions that do not load, with
    the reason; `unloadable` is the reason why none does, "" as long as one may.
    """

    name: str
    base_path: str
    versions: tuple[int, ...]
    servers: tuple[ModelServer, ...]
    pool: str = DEFAULT_POOL
    url: str = ""
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unloadable: str = ""

    @property
    def latest(self) -> int:
        return self.versions[-1]


@dataclasses.dataclass(frozen=True)
class Worker:
    """One worker process: its supervisord program and the unix socket that supervisord holds open for it.

    Workers of one pool may share a socket.
    """

    program: str
    socket: str


@dataclasses.dataclass(frozen=True)
class Pool:
    """Worker processes that run one set of user code, or none (`script` is None: the converter alone).

    `python` is the interpreter, which may be that of a virtual environment with the user's requirements.
    `python_path` comes first on the workers' `sys.path`: `code/lib`, then the source directory.
    """

    name: str
    python: str
    workers: tuple[Worker, ...]
    script: str | None = None
    python_path: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """All models by name and all pools by name. `default_model` serves requests that name no model.

    In multi-model mode plans follow each other; `generation` counts them, and `slots` are the REST ports of nginx's
    upstreams for model servers (`stack.slots`), which stay.
    """

    models: Mapping[str, Model]
    pools: Mapping[str, Pool]
    default_model: str | None = None
    generation: int = 0
    slots: tuple[tuple[int, ...], ...] = ()

    @property
    def ports(self) -> set[int]:
        """All ports of model servers."""
        servers = [server for model in self.models.values() for server in model.servers]
        return set().union(*(server.ports for server in servers))

    def server(self, program: str) -> ModelServer:
        """The program's model server. Raises KeyError when there is none."""
        for model in self.models.values():
            for server in model.servers:
                if server.program == program:
                    return server
        raise KeyError(program)

    def with_server(self, changed: ModelServer) -> Plan:
        """The next plan, in which the program of `changed` has its ports."""
        models = {
            name: dataclasses.replace(
                model, servers=tuple(changed if s.program == changed.program else s for s in model.servers)
            )
            for name, model in self.models.items()
        }
        return dataclasses.replace(self, models=models, generation=self.generation + 1)

    def save(self, run_dir: RunDir) -> None:
        """Write the plan into the run directory, atomically."""
        replace(run_dir.plan, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def load(cls, run_dir: RunDir) -> Plan:
        """Read the plan of the stack in `run_dir`. Raises OSError if there is none."""
        document = json.loads(run_dir.plan.read_text())
        return cls(
            models={name: model_from(value) for name, value in document["models"].items()},
            pools={name: pool_from(value) for name, value in document["pools"].items()},
            default_model=document["default_model"],
            generation=document["generation"],
            slots=tuple(map(tuple, document["slots"])),
        )


def model_from(value: dict[str, Any]) -> Model:
    """The model that dataclasses.asdict made `value` of."""
    servers = tuple(ModelServer(**server) for server in value["servers"])
    return Model(**{**value, "versions": tuple(value["versions"]), "servers": servers})


def pool_from(value: dict[str, Any]) -> Pool:
    """The pool that dataclasses.asdict made `value` of."""
    workers = tuple(Worker(**worker) for worker in value["workers"])
    return Pool(**{**value, "workers": workers, "python_path": tuple(value["python_path"])})
