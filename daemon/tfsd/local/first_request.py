"""A first request to an endpoint that has just become healthy: curl lines to paste, and the answer."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from urllib.parse import quote

import requests

from tfsd.errors import sentence
from tfsd.local.sample_request import sample_request
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

MAX_RESPONSE_SHOWN = 600


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that shows an endpoint at work: a file and its content type."""

    content_type: str
    body: Path


def show_loading(settings: Settings, endpoint: str) -> None:
    """Print curl lines that load a model and invoke it, for what lies in the models directory."""
    directories = sorted(
        path for path in settings.models_dir.glob("*") if path.is_dir() and path.name != "code"
    )
    if not directories:
        print(
            f"\nbin/local: lay models below {settings.models_dir}; each is loaded by its directory.",
            flush=True,
        )
    name = directories[0].name if directories else "NAME"
    document = json.dumps({"model_name": name, "url": str(settings.models_dir.absolute() / name)})
    url = f"{endpoint}/models"
    body = '{"instances": […]}'
    lines = [
        f"curl -s {url} -d {shlex.quote(document)}",
        f"curl -s {url}/{quote(name, safe='')}/invoke -H 'Content-Type: application/json' -d '{body}'",
        f"curl -s {url}",
        f"curl -s -X DELETE {url}/{quote(name, safe='')}",
    ]
    print(
        "\nbin/local: load, invoke, list and unload models with:\n\n  " + "\n  ".join(lines) + "\n",
        flush=True,
    )


def show_request(endpoint: str, run_dir: RunDir, request: Request | None) -> None:
    """Print a curl line that works when pasted, and its answer.

    Without `request` it is one for the default model, made from its signature, if it has one.
    """
    url = f"{endpoint}/invocations"
    if request is None:
        request = _request_for_default_model(run_dir)
    if request is None:
        print(f"\nbin/local: serving at {url}.", flush=True)
        return
    line = f"curl -s --data-binary @{shlex.quote(str(request.body))} -H 'Content-Type: {request.content_type}' {url}"
    headers = {"Content-Type": request.content_type}
    try:
        answer = requests.post(url, data=request.body.read_bytes(), headers=headers, timeout=120)
    except requests.RequestException as error:  # it was stopped meanwhile, perhaps
        print(f"\nbin/local: serving at {url}, but a request failed: {sentence(error)}", flush=True)
        return
    shown = answer.text if len(answer.text) <= MAX_RESPONSE_SHOWN else answer.text[:MAX_RESPONSE_SHOWN] + " …"
    page = url.removesuffix("invocations")
    print(f"\nbin/local: serving at {url}, status page at {page}. Try:\n\n  {line}\n\n{shown}\n", flush=True)
    if answer.status_code != 200:
        print(
            "bin/local: this request was made from the model's signature; send what your code expects.",
            flush=True,
        )


def _request_for_default_model(run_dir: RunDir) -> Request | None:
    """A request made from the signature of the default model, written into the run directory."""
    plan = Plan.load(run_dir)
    if plan.default_model is None:
        return None
    model = plan.models[plan.default_model]
    document = sample_request(model.name, model.servers[0].rest_port)
    if document is None:
        return None
    run_dir.sample_request.write_text(json.dumps(document))
    return Request("application/json", run_dir.sample_request)
