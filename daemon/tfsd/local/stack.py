"""`bin/local serve`: a stack on one's own machine, started as a child, shown to work, stopped without a trace.

Owns the laptop's side of `serve` only; what is started is the container's own entry point.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tfsd.errors import sentence
from tfsd.local.child import STOP_SECONDS, Child
from tfsd.local.errors import LocalError
from tfsd.local.first_request import Request, show_loading, show_request
from tfsd.local.model_argument import base_dir
from tfsd.run_dir import RunDir
from tfsd.settings import Settings, SettingsError

LOOPBACK = "127."


def serve(
    model: Path | None,
    run_dir: RunDir,
    environ: Mapping[str, str],
    request: Request | None = None,
    *,
    verbose: bool = False,
) -> int:
    """Serve `model` (a directory or tar archive; None: what SAGEMAKER_BASE_DIR holds) until a signal comes.

    Once the endpoint is healthy, prints a curl line for `request`, or for one made from the model's signature,
    and the answer to it; in multi-model mode, where SAGEMAKER_BASE_DIR has `models/`, curl lines that load and
    invoke a model. Returns the exit status. Raises StartError, also when the endpoint is not healthy in time.
    """
    environ = {"SAGEMAKER_TFS_STATUS_PAGE": "true", **environ}
    run_dir.claim()
    if model is not None:
        environ["SAGEMAKER_BASE_DIR"] = str(base_dir(model, run_dir))
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        raise LocalError("; ".join(error.problems)) from error
    if settings.multi_model and model is not None:
        raise LocalError(
            "SAGEMAKER_MULTI_MODEL=true needs SAGEMAKER_BASE_DIR, whose models/ holds the models"
        )
    if not verbose:
        _say(f"starting on port {settings.port}; --verbose shows all that happens")
    if not settings.bind_address.startswith(LOOPBACK):
        _say(_open(settings))
    command = [sys.executable, "-m", "tfsd.start.serve", "--run-dir", str(run_dir)]
    patience = max(STOP_SECONDS, settings.stop_time)
    child = Child(command, environ, run_dir, verbose=verbose, stop_seconds=patience)
    try:
        if child.wait_for_health(f"{_url(settings, '127.0.0.1')}/ping", settings.load_timeout, _say):
            if settings.multi_model:
                show_loading(settings, _url(settings, "localhost"))
            else:
                show_request(_url(settings, "localhost"), run_dir, request)
        elif child.is_supervisord() and not child.stopping:
            child.end()
            raise LocalError(f"the endpoint does not become healthy: {child.trouble}")
        return child.wait()
    finally:
        child.sweep()


def _url(settings: Settings, loopback: str) -> str:
    """The endpoint's address for a client on this machine."""
    address = settings.bind_address
    return f"http://{loopback if address == '0.0.0.0' or address.startswith(LOOPBACK) else address}:{settings.port}"


def _open(settings: Settings) -> str:
    """Who can do what with an endpoint that listens on more than the loopback address."""
    where = "all addresses" if settings.bind_address == "0.0.0.0" else settings.bind_address
    what = "load, invoke and unload models" if settings.multi_model else "invoke the model"
    return f"port {settings.port} is open on {where} of this machine: whoever reaches it can {what} and read /metrics"


def _say(text: str) -> None:
    print(f"bin/local: {sentence(text)}", file=sys.stderr, flush=True)
