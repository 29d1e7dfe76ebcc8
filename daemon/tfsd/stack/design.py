"""From settings and models to the processes of one stack: their plan, ports, sockets and rendered files.

`design` decides, `Stack.files` renders; nothing here starts a process or reads os.environ.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tfsd import attributes, machine
from tfsd.errors import StartError
from tfsd.model_directory import Code, FoundModel
from tfsd.plan import DEFAULT_POOL, Model, ModelServer, Plan, Pool, Worker
from tfsd.run_dir import RunDir, RunDirError, replace
from tfsd.settings import Settings
from tfsd.stack import model_server_flags, ports, slots
from tfsd.stack.nginx import Nginx, command
from tfsd.stack.templates import render
from tfsd.stop_times import stop_times

LONE_SOCKET_COPIES = 3
MAX_OPEN_FILES = 65_536
LINES_TYPES = (
    "text/csv",
    *(f"application/{name}" for name in ("jsonlines", "jsonl", "jsons", "x-ndjson")),
)
MAX_CAPTURE_LOG_BYTES = 128 << 20  # more than control lets wait, so that it decides as long as it runs


class StackError(StartError):
    """The stack cannot be built as asked; the text says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a stack runs on: CPUs, GPUs as CUDA names them, the limit of open files, whether we are root, and whether
    somebody has tuned glibc (GLIBC_TUNABLES)."""

    cpus: int
    gpus: tuple[str, ...] = ()
    open_files: int = 1024
    root: bool = False
    tuned: bool = False


def this_machine(environ: Mapping[str, str]) -> Machine:
    """What a stack may use of this machine; GPUs are as `environ` restricts them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    return Machine(
        machine.available_cpus(),
        machine.gpus(environ),
        limit,
        root=os.geteuid() == 0,
        tuned=bool(environ.get("GLIBC_TUNABLES")),
    )


@dataclasses.dataclass(frozen=True)
class Stack:
    """A designed stack. `model_server_command` runs a model server when its flags are appended."""

    settings: Settings
    run_dir: RunDir
    machine: Machine
    nginx: Nginx
    model_server_command: Sequence[str]
    plan: Plan

    def files(self) -> dict[Path, str]:
        """The rendered files of the run directory."""
        files = {
            self.run_dir.supervisord_conf: self._supervisord(),
            self.run_dir.nginx_conf: self._nginx(),
            self.run_dir.monitoring_conf: render("monitoring.conf"),
        }
        if self.settings.multi_model and self.nginx.njs:
            files[self.run_dir.names_js] = render("names.js")
        if self.plan.slots or not self.settings.multi_model:
            files[self.run_dir.decision_conf] = self._decision()
            files[self.run_dir.router_js] = render("router.js", routes=self._routes())
            files[self.run_dir.lines_js] = render("lines.js")
            if self._captures_directly():
                files[self.run_dir.capture_js] = render(
                    "capture.js",
                    log=str(self.run_dir.capture_log),
                    dropped=str(self.run_dir.dropped_captures),
                    max_log_bytes=MAX_CAPTURE_LOG_BYTES,
                )
        if self.settings.enable_batching:
            files[self.run_dir.batching_conf] = render("batching.conf", settings=self.settings)
        for model in self.plan.models.values():
            files[models_conf(self.run_dir, model.name)] = render("models.conf", models=[model])
        return files

    def write(self) -> dict[Path, str]:
        """Write the plan and the rendered files, which are returned, into the run directory, and make the directories
        they name."""
        self.run_dir.make(multi_model=self.settings.multi_model)
        files = self.files()
        for path, text in files.items():
            replace(path, text)
        self.plan.save(self.run_dir)
        return files

    def _supervisord(self) -> str:
        return render(
            "supervisord.conf",
            run_dir=self.run_dir,
            root=self.machine.root,
            address=self.settings.bind_address,
            port=self.settings.port,
            multi_model=self.settings.multi_model,
            stops=stop_times(self.settings),
            model_servers=self._model_servers(),
            workers=[
                self._worker(pool, worker) for pool in self.plan.pools.values() for worker in pool.workers
            ],
            control_command=[sys.executable, "-m", "tfsd.control", "--run-dir", str(self.run_dir)],
            nginx_command=command(self.nginx.binary, self.run_dir),
            tuned=self.machine.tuned,
        )

    def _worker(self, pool: Pool, worker: Worker) -> dict[str, object]:
        return {
            "program": worker.program,
            "socket": worker.socket,
            "command": worker_command(self.run_dir, pool),
            "processes": 1,
        }

    def _model_servers(self) -> list[dict[str, object]]:
        """Program, command and environment of every model server; GPUs are dealt out in turn."""
        servers = [(model, server) for model in self.plan.models.values() for server in model.servers]
        gpus = self.machine.gpus
        described: list[dict[str, object]] = []
        for index, (model, server) in enumerate(servers):
            environment = f'OMP_NUM_THREADS="{self.settings.omp_num_threads}"'
            flags = model_server_flags.flags(
                self.settings, self.run_dir, server, models_conf(self.run_dir, model.name), model
            )
            if gpus and len(servers) > 1:
                environment += f',CUDA_VISIBLE_DEVICES="{gpus[index % len(gpus)]}"'
                sharing = len(range(index % len(gpus), len(servers), len(gpus)))
                if sharing > 1:
                    fraction = (1 - self.settings.gpu_memory_margin) / sharing
                    flags.append(f"--per_process_gpu_memory_fraction={fraction:.4f}")
            command = [*self.model_server_command, *flags, *self.settings.model_server_args]
            described.append(
                {
                    "program": server.program,
                    "command": command,
                    "environment": environment,
                    "embedded": model_server_flags.is_embedded(self.model_server_command),
                }
            )
        return described

    def _nginx(self) -> str:
        upstreams = self._pool_upstreams()
        return render(
            "nginx.conf",
            run_dir=self.run_dir,
            root=self.machine.root,
            settings=self.settings,
            stops=stop_times(self.settings),
            port=self.settings.port,
            cpus=self.machine.cpus,
            open_files=self.machine.open_files,
            njs_module=self.nginx.njs_module,
            njs=self.nginx.njs,
            joins_lines=self.nginx.joins_lines,
            captures_directly=self._captures_directly(),
            spooled_at_once=max(1, self.settings.max_spooled_mb // self.settings.max_body_mb),
            control_timeout=int(self.settings.load_timeout + 2 * self.settings.request_timeout) + 60,
            pools=[
                {"upstream": upstreams[pool.name], "sockets": _listed_sockets(pool)}
                for pool in self.plan.pools.values()
            ],
            default_upstream=upstreams[self._default_pool()],
            default_direct=self._default_direct(),
            default_target=self._default_target(),
            default_label=self._default_label(),
            json_accepts=self._json_accepts() if self._default_target() else (),
            lines_types=LINES_TYPES,
            slots=self.plan.slots,
            pool_slots=slots.pool_sockets(self.settings, self.run_dir) if self.settings.multi_model else (),
            link_name=slots.LINK_NAME.pattern,
            request_id_prefix=os.urandom(4).hex(),
            keep_direct=model_server_flags.is_embedded(self.model_server_command),
            direct_models=[
                {"upstream": upstream, "ports": [server.rest_port for server in model.servers]}
                for upstream, model in self._direct_models().items()
            ],
        )

    def _decision(self) -> str:
        upstreams, default_pool = self._pool_upstreams(), self._default_pool()
        targets = {
            model.name: _rest_target(upstream, model) for upstream, model in self._direct_models().items()
        }
        return render(
            "decision.conf",
            run_dir=self.run_dir,
            multi_model=self.settings.multi_model,
            njs=self.nginx.njs,
            joins_lines=self.nginx.joins_lines,
            captures=self.settings.captures,
            captures_directly=self._captures_directly(),
            default_upstream=upstreams[default_pool],
            pooled_models=[
                {"name": model.name, "upstream": upstreams[model.pool]}
                for model in self.plan.models.values()
                if model.pool != default_pool
            ],
            direct_models=targets or self.plan.slots,
            rest_api=self.settings.rest_api and not self.settings.multi_model,
            by_path=(self.settings.rest_api or self.settings.v2_api) and not self.settings.multi_model,
            rest_models=[
                {
                    "name": model.name,
                    "target": targets[model.name],
                    "versions": f"(?:/versions/(?:{'|'.join(map(str, model.versions))}))?",
                }
                for model in self._direct_models().values()
            ],
            default_target=self._default_target(),
            default_label=self._default_label(),
            lines_types=LINES_TYPES,
            json_accepts=self._json_accepts(),
        )

    def _pool_upstreams(self) -> dict[str, str]:
        """The name of each worker pool's upstream in nginx.conf."""
        return {name: f"workers_{index}" for index, name in enumerate(self.plan.pools)}

    def _default_pool(self) -> str:
        """The pool of the default model."""
        return self.plan.models[self.plan.default_model].pool if self.plan.default_model else DEFAULT_POOL

    def _captures_directly(self) -> bool:
        """Whether nginx itself captures requests that go straight to a model server."""
        return self.settings.captures and self.nginx.njs and bool(self._direct_models())

    def _json_accepts(self) -> list[str]:
        """What a client that gets JSON writes in Accept; nothing at all, where that means JSON."""
        by_default = self.settings.default_accept.lower() in ("application/json", "*/*")
        return ["application/json", *(("", "*/*") if by_default else ())]

    def _direct_models(self) -> dict[str, Model]:
        """Models that need no user code, by the name of their nginx upstream; none when nginx sees too little."""
        if not _can_be_direct(self.settings, self.nginx):
            return {}
        return {
            f"model_{index}": model
            for index, model in enumerate(self.plan.models.values())
            if self.plan.pools[model.pool].script is None
        }

    def _default_direct(self) -> str:
        """The upstream of the default model's servers in nginx.conf; `-` when its requests are a worker's."""
        names = (
            name for name, model in self._direct_models().items() if model.name == self.plan.default_model
        )
        return next(names, "-")

    def _default_target(self) -> str:
        """Where its REST API predicts; in multi-model mode the end of that path; empty when it is a worker's."""
        if self.plan.slots:
            return ":predict"
        for upstream, model in self._direct_models().items():
            if model.name == self.plan.default_model:
                return f"{_rest_target(upstream, model)}:predict"
        return ""

    def _default_label(self) -> str:
        """The default model's name as nginx logs it."""
        return quote(self.plan.default_model or "", safe="")

    def _routes(self) -> dict[str, object]:
        """What router.js knows. Names are prefixed, so that none is a property that every object has."""
        return {
            "default_model": self.plan.default_model,
            "methods": attributes.METHODS,
            "models": {
                f"model {model.name}": {
                    "target": _rest_target(upstream, model),
                    "versions": [str(version) for version in model.versions],
                }
                for upstream, model in self._direct_models().items()
            },
        }


def design(
    settings: Settings,
    run_dir: RunDir,
    models: Sequence[FoundModel],
    codes: Mapping[str | None, Code],
    machine: Machine,
    nginx: Nginx,
    model_server_command: Sequence[str],
) -> Stack:
    """Decide on all processes of a stack.

    `codes` maps a model's name to its own user code, and None to the code that all other models share; a
    model with neither is served by the converter. In multi-model mode there are no models yet, and the default
    pool waits for them. Raises StackError, PortError, RunDirError.
    """
    default_model = None if settings.multi_model else settings.default_model_name
    names = [model.name for model in models]
    if default_model and default_model not in names:
        raise StackError(
            f"SAGEMAKER_TFS_DEFAULT_MODEL_NAME={default_model} is not one of the models: {', '.join(names)}"
        )
    count = settings.instance_count
    numbers = iter(ports.allocate(2 * count * len(models), settings.safe_port_range, {settings.port}))
    planned = {}
    for model in models:
        programs = program_names("model", model.name, count)
        # gRPC comes first: scripts of AWS's images count on SAGEMAKER_SAFE_PORT_RANGE's first port for it
        servers = tuple(
            ModelServer(program, grpc_port=next(numbers), rest_port=next(numbers)) for program in programs
        )
        pool = pool_name(model.name) if model.name in codes else DEFAULT_POOL
        no_port = settings.grpc_sockets and model.name not in codes and None not in codes
        servers = tuple(with_grpc_socket(run_dir, server, no_port=no_port) for server in servers)
        planned[model.name] = Model(model.name, str(model.base_path), model.versions, servers, pool)
    pools = {}
    owners: dict[str, str | None] = {model.pool: model.name for model in planned.values()}
    if settings.multi_model:
        owners[DEFAULT_POOL] = None
    for name, owner in owners.items():
        code = codes.get(None if name == DEFAULT_POOL else owner)
        pools[name] = _pool(name, code, settings.workers, run_dir)
    direct = settings.multi_model and None not in codes and _can_be_direct(settings, nginx)
    plan = Plan(
        planned,
        pools,
        default_model or (names[0] if names else None),
        slots=slots.lay_out(settings) if direct else (),
    )
    return Stack(settings, run_dir, machine, nginx, model_server_command, plan)


def _can_be_direct(settings: Settings, nginx: Nginx) -> bool:
    """Whether nginx sees enough of a request to pass it to a model server, and a model without code may be."""
    return (nginx.joins_lines or nginx.njs) and not settings.python_endpoint


def _pool(name: str, code: Code | None, workers: int, run_dir: RunDir) -> Pool:
    programs = program_names("worker", name, workers)
    sockets = [Worker(program, str(run_dir.worker_socket(program))) for program in programs]
    if code is None:
        return Pool(name, sys.executable, tuple(sockets))
    user_code = code.user_code
    return Pool(name, code.python, tuple(sockets), str(user_code.script), user_code.python_path)


def with_grpc_socket(run_dir: RunDir, server: ModelServer, *, no_port: bool) -> ModelServer:
    """The model server with its gRPC API on a unix socket beside its port; with `no_port` in place of it.

    One that has a port keeps to it where the socket's path is too long for one, or has a percent sign, after which gRPC
    takes two digits for an encoded character. With `no_port` a path that is too long raises RunDirError.
    """
    try:
        socket = str(run_dir.grpc_socket(server.program))
    except RunDirError:
        if no_port:
            raise
        return server
    if no_port:
        return dataclasses.replace(server, grpc_port=0, grpc_socket=socket)
    return server if "%" in socket else dataclasses.replace(server, grpc_socket=socket)


def pool_name(model: str) -> str:
    """The pool of a model that has user code of its own."""
    return model if model != DEFAULT_POOL else f"{model}/code"


def program_names(kind: str, name: str, count: int) -> list[str]:
    """supervisord's names for `count` processes: `<kind>-<name>`, numbered from 0 when there are several."""
    stem = f"{kind}-{_plain(name)}"
    return [stem] if count == 1 else [f"{stem}-{index}" for index in range(count)]


def worker_command(run_dir: RunDir, pool: Pool) -> list[str]:
    """The command of a pool's workers, to which `--worker PROGRAM` is added."""
    return [pool.python, "-m", "tfsd.worker", "--run-dir", str(run_dir), f"--pool={pool.name}"]


def environment_directory(run_dir: RunDir, pool: str) -> Path:
    """Where the virtual environment of a pool's code lies."""
    return run_dir.environment(program_names("worker", pool, 1)[0])


def models_conf(run_dir: RunDir, model: str) -> Path:
    """`--model_config_file` of a model's servers."""
    return run_dir.models_conf(_plain(model))


def _plain(name: str) -> str:
    """`name` where it can stand in file and program names, else what remains of it and a hash that tells it apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if plain == name and len(name) <= 40:
        return name
    return f"{plain[:31]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _rest_target(upstream: str, model: Model) -> str:
    """Where nginx reaches a model's REST API: the upstream and the path, less version and method."""
    return f"{upstream}/v1/models/{quote(model.name, safe='')}"


def _listed_sockets(pool: Pool) -> list[str]:
    sockets = [worker.socket for worker in pool.workers]
    return sockets * LONE_SOCKET_COPIES if len(sockets) == 1 else sockets
