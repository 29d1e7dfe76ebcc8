"""What a model that is loaded at run time gets in the run directory: names, sockets, rendered programs.

The multi-model counterpart of `stack`, which lays out everything at start. Decides and renders; control writes the
files and has supervisord run what they say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from tfsd.model_directory import Code
from tfsd.plan import Model, ModelServer, Pool, Worker
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import model_server_flags
from tfsd.stack.design import pool_name, program_names, worker_command
from tfsd.stack.templates import render
from tfsd.stop_times import stop_times

MAX_PLAIN_NAME = 40
PLAIN_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_PLAIN_NAME}}}")


def socket_id(name: str) -> str:
    """What stands for a model's name in its socket's path; nginx comes to the same (conf/nginx.conf, names.js)."""
    if PLAIN_NAME.fullmatch(name):
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()[:32]


def check_run_dir(run_dir: RunDir, *, grpc_sockets: bool = False) -> None:
    """Raises RunDirError when the path is too long for the sockets of a model with a long name.

    `grpc_sockets`: whether its model server has nothing but a socket for gRPC.
    """
    run_dir.pool_socket("x" * MAX_PLAIN_NAME)
    if grpc_sockets:
        run_dir.grpc_socket(program_names("model", "x" * MAX_PLAIN_NAME, 10)[-1])


def own_pool_name(model: str) -> str:
    """The pool of a model that has code of its own; no other pool's, and plain.

    It stands in a command line, where supervisor would replace `%(here)s` even within a quoted `%%(here)s`.
    """
    return program_names("worker", pool_name(model), 1)[0].removeprefix("worker-")


def own_pool(run_dir: RunDir, model: str, code: Code, workers: int, slot: int | None) -> Pool:
    """The pool of a model that has code of its own: a socket for each worker in a slot, else one that all share."""
    name = own_pool_name(model)
    programs = program_names("worker", name, workers)
    if slot is None:
        sockets = [run_dir.pool_socket(socket_id(model))] * workers
    else:
        sockets = [run_dir.slot_socket(slot, worker) for worker in range(workers)]
    return Pool(
        name,
        code.python,
        tuple(Worker(program, str(socket)) for program, socket in zip(programs, sockets, strict=True)),
        str(code.user_code.script),
        code.user_code.python_path,
    )


def pool_stem(pool: Pool) -> str:
    """The name of what belongs to a pool's workers together."""
    return program_names("worker", pool.name, 1)[0]


def pool_groups(pool: Pool) -> dict[str, list[Worker]]:
    """supervisord's groups of a pool's workers: those that share a socket are one."""
    shared = len({worker.socket for worker in pool.workers}) < len(pool.workers)
    return (
        {pool_stem(pool): [*pool.workers]}
        if shared
        else {worker.program: [worker] for worker in pool.workers}
    )


def pool_programs(settings: Settings, run_dir: RunDir, pool: Pool) -> str:
    """The sections of supervisord's configuration that run a pool's workers."""
    workers = [
        {
            "program": group,
            "socket": members[0].socket,
            "command": worker_command(run_dir, pool),
            "processes": len(members),
        }
        for group, members in pool_groups(pool).items()
    ]
    return render("programs.conf", stops=stop_times(settings), model_servers=[], workers=workers)


def server_programs(
    settings: Settings,
    run_dir: RunDir,
    command: Sequence[str],
    servers: Sequence[ModelServer],
    gpus: Sequence[str],
    model: Model | None = None,
) -> str:
    """The sections that run the model servers of one host; `gpus` are dealt out in turn.

    `model` is the only one that they will ever serve; None when others may come to share them. Several model
    servers may come to share a GPU, so none takes all of its memory at once.
    """
    models_conf = run_dir.models_conf(servers[0].program)
    described = []
    for index, server in enumerate(servers):
        environment = f'OMP_NUM_THREADS="{settings.omp_num_threads}"'
        if gpus:
            gpu = gpus[(server.rest_port + index) % len(gpus)]
            environment += f',CUDA_VISIBLE_DEVICES="{gpu}",TF_FORCE_GPU_ALLOW_GROWTH="true"'
        words = [*command, *model_server_flags.flags(settings, run_dir, server, models_conf, model)]
        described.append(
            {
                "program": server.program,
                "command": [*words, *settings.model_server_args],
                "environment": environment,
                "embedded": model_server_flags.is_embedded(command),
            }
        )
    return render("programs.conf", stops=stop_times(settings), model_servers=described, workers=[])


def models_text(models: Sequence[Model]) -> str:
    """What the `--model_config_file` of a host's model servers says."""
    return render("models.conf", models=models)
