"""The container's entry point: look at the model, prepare, render, and become supervisord.

Exits with 1 after one clear line when the container cannot serve. It never outlives that: once everything is
in place this process is replaced by supervisord, which then is PID 1 of the container.
"""

from __future__ import annotations

from tfsd.lasting_imports import LastingImports

with LastingImports():
    import argparse
    import dataclasses
    import logging
    import os
    import socket
    import sys
    import tempfile
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import NoReturn

    from tfsd import logs
    from tfsd.errors import StartError, os_problem, sentence
    from tfsd.model_directory import (
        CODE_DIRECTORY,
        ROOT_MODEL_NAME,
        Code,
        FoundModel,
        ModelError,
        UserCode,
        find_models,
        find_user_code,
    )
    from tfsd.plan import DEFAULT_POOL
    from tfsd.run_dir import RunDir, remove
    from tfsd.settings import Settings, SettingsError
    from tfsd.stack import multi_model, nginx, ports
    from tfsd.stack.design import Stack, design, environment_directory, pool_name, this_machine
    from tfsd.stack.model_server_flags import find_command, is_embedded
    from tfsd.start import notices, s3, source_archive, user_code
    from tfsd.start.drain import drain
    from tfsd.start.s3 import S3Error
    from tfsd.start.source_archive import SourceError

DEFAULT_RUN_DIR = Path("/run/tfsd")  # of root; see default_run_dir for others

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """`serve [--run-dir DIR] [--drain SECONDS]`: become supervisord, or say why not and return 1."""
    parser = argparse.ArgumentParser(prog="serve", description="Serve the model of this SageMaker container.")
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="for rendered files and sockets (default: /run/tfsd, or a directory of one's own in /run/tfsd or /tmp "
        "for a user who may not make that)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        metavar="SECONDS",
        help="start nothing: have the running stack say at /readyz that it is about to be stopped, and wait",
    )
    options = parser.parse_args(arguments)
    try:
        run_dir = RunDir((options.run_dir or default_run_dir()).absolute())
        if options.drain is not None:
            drain(run_dir, options.drain)
            return 0
        settings = Settings.from_environ(os.environ)
        logs.setup("serve", settings.log_level, form=settings.log_format)
        run_dir.claim()
        listener = ports.listen(settings.bind_address, settings.port)
        stack = prepare(settings, os.environ, run_dir)
        nginx.check(stack.nginx.binary, run_dir)
    except SettingsError as error:
        for problem in error.problems:
            print(f"serve: {sentence(problem)}", file=sys.stderr)
        return 1
    except (StartError, ValueError) as error:
        print(f"serve: {sentence(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"serve: {sentence(os_problem(error))}", file=sys.stderr)
        return 1
    become_supervisord(stack, listener)


def default_run_dir() -> Path:
    """/run/tfsd, or for a user who may not have it a directory of its own, below a /run/tfsd that is open to all or
    in the directory for temporary files."""
    own = (DEFAULT_RUN_DIR / str(os.geteuid()), Path(tempfile.gettempdir()) / f"tfsd-{os.geteuid()}")
    return next((path for path in (DEFAULT_RUN_DIR, *own) if RunDir(path).can_be_ours()), DEFAULT_RUN_DIR)


def prepare(settings: Settings, environ: Mapping[str, str], run_dir: RunDir) -> Stack:
    """Everything up to starting processes: models, user code, the files of the run directory, which is ours.

    Raises StartError, OSError, and ValueError for a path that cannot stand in a configuration.
    """
    for name in settings.ignored:
        log.warning("%s has no effect: the workers are gevent's.", name)
    for warning in notices.near_misses(environ):
        log.warning("%s", warning)
    models: Sequence[FoundModel] = ()
    if settings.multi_model:
        multi_model.check_run_dir(run_dir, grpc_sockets=settings.grpc_sockets)
    else:
        root_name = settings.default_model_name or ROOT_MODEL_NAME
        models = find_models(settings.model_dir.resolve(), settings.newest_versions, root_name)
    run_dir.clear()
    command = find_command(settings, environ)
    if settings.op_libraries and not is_embedded(command):
        log.warning("SAGEMAKER_TFS_OP_LIBRARIES has no effect: %s has the ops it was built with.", command[0])
    stack = design(
        settings,
        run_dir,
        models,
        _universal_code(settings, run_dir)
        if settings.multi_model
        else _user_codes(settings, models, run_dir),
        this_machine(environ),
        nginx.find(),
        command,
    )
    files = stack.write()
    for line in notices.rendered(run_dir, files):
        log.info("%s", line)
    for model in models:
        log.info(
            "Model %s: versions %s at %s.", model.name, ", ".join(map(str, model.versions)), model.base_path
        )
    return stack


def become_supervisord(stack: Stack, listener: socket.socket) -> NoReturn:
    """Replace this process by supervisord in the foreground, which takes over the endpoint's socket."""
    os.environ[ports.LISTENER] = str(listener.fileno())
    os.environ["SAGEMAKER_BASE_DIR"] = str(stack.settings.base_dir.absolute())  # control works elsewhere
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "tfsd.stack.supervisord", "-c", str(stack.run_dir.supervisord_conf)]
    os.execv(sys.executable, command)


def _user_codes(settings: Settings, models: Sequence[FoundModel], run_dir: RunDir) -> dict[str | None, Code]:
    """The user's code for all models (key None) and the models' own, each checked and with its requirements."""
    found: dict[str | None, UserCode] = {}
    shared = _shared_code(settings, run_dir)
    if shared:
        found[None] = shared
    for model in models:
        own = model.base_path / CODE_DIRECTORY
        if model.base_path != settings.model_dir.resolve() and (own / settings.program).is_file():
            code = user_code.of_one_model(own, settings)
            if code:
                found[model.name] = code
    if not found and settings.program != Settings.program:
        raise ModelError(
            f"SAGEMAKER_PROGRAM={settings.program} is in no code directory of {settings.model_dir}"
        )
    if not found:
        _warn_of_scripts(settings, (settings.model_dir / CODE_DIRECTORY, settings.base_dir / CODE_DIRECTORY))
    return {name: _ready(name, code, run_dir) for name, code in found.items()}


def _warn_of_scripts(settings: Settings, directories: Sequence[Path]) -> None:
    for warning in notices.other_scripts(directories, settings.program):
        log.warning("%s", warning)


def _shared_code(settings: Settings, run_dir: RunDir) -> UserCode | None:
    """The code for all models: `code/` of the model directory or beside it, or SAGEMAKER_SUBMIT_DIRECTORY's."""
    location = settings.submit_directory
    if location is None or not source_archive.is_archive(location):
        places = (settings.model_dir.resolve() / CODE_DIRECTORY, settings.base_dir.resolve() / CODE_DIRECTORY)
        place = next((place for place in places if (place / settings.program).is_file()), places[0])
        return find_user_code(place, settings)
    directory = source_archive.fetch(location, run_dir.source)
    code = find_user_code(directory, dataclasses.replace(settings, submit_directory=str(directory)))
    if code is None:
        raise SourceError(f"SAGEMAKER_SUBMIT_DIRECTORY={location} has no {settings.program}")
    return code


def _universal_code(settings: Settings, run_dir: RunDir) -> dict[str | None, Code]:
    """The code of all models that have none of their own, in multi-model mode."""
    directories = settings.universal_code_dirs
    if settings.universal_bucket:
        directories = (_fetch_universal_code(settings, run_dir.source),)
    for directory in directories:
        code = user_code.of_one_model(directory, settings) if directory.is_dir() else None
        if code:
            log.info("Models without code of their own are served by %s.", code.script)
            return {None: _ready(None, code, run_dir)}
    _warn_of_scripts(settings, directories)
    return {}


def _fetch_universal_code(settings: Settings, directory: Path) -> Path:
    """Download the code of all models, which must have a script. Raises S3Error."""
    remove(directory)
    bucket, prefix = settings.universal_bucket or "", settings.universal_prefix or ""
    where = f"s3://{bucket}/{prefix} (SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET and …_PREFIX)"
    try:
        count = s3.fetch_prefix(bucket, prefix, directory)
    except S3Error as error:
        raise S3Error(f"{where} {error}") from error
    if not (directory / settings.program).is_file():
        raise S3Error(f"{where} has no {settings.program} ({count} objects are there)")
    return directory


def _ready(model: str | None, code: UserCode, run_dir: RunDir) -> Code:
    """Install the code's requirements and check its script. Raises RequirementsError, ScriptError."""
    pool = DEFAULT_POOL if model is None else pool_name(model)
    return user_code.prepare(code, environment_directory(run_dir, pool), run_dir.path)


if __name__ == "__main__":
    sys.exit(main())
