"""A real multi-model stack, and the models, code and wheels that are laid for it."""

from __future__ import annotations

import http.client
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from support.stack import RunningStack

VOLATILE = (
    *("nginx", "control.state.json", "requests.log", "plan.json", "control.sock"),
    "slots/",  # which stay, for the next link to lead there
    *("ends/control", "ends/nginx", "ends/worker-default", "heartbeats/worker-default"),
    *("started", "healthy"),
)
LOAD_SECONDS = 120


class MultiModelStack(RunningStack):
    """A stack with SAGEMAKER_MULTI_MODEL=true; models are laid with `lay` and spoken to by name."""

    def __init__(self, directory: Path, environ: Mapping[str, str] | None = None):
        super().__init__(directory, directory, {"SAGEMAKER_MULTI_MODEL": "true", **(environ or {})})
        self.models_dir = directory / "base" / "models"
        self.models_dir.mkdir()

    def lay(self, place: str, model: Path, code: str | None = None, **files: str) -> str:
        """Copy a model to a place below the models directory, with code and files below `code/`; returns its url.

        In the names of `files`, `__` stands for a slash and `_py`, `_txt` for a suffix.
        """
        directory = self.models_dir / place / "model"
        shutil.copytree(model, directory / model.name)
        if code is not None:
            files["inference_py"] = code
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            path = directory / "code" / f"{stem.replace('__', '/')}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(directory)

    def load(self, name: object, url: object, timeout: float = LOAD_SECONDS) -> requests.Response:
        document = {"model_name": name, "url": url}
        return requests.post(self.url("/models"), json=document, timeout=timeout)

    def loaded(self, name: str, url: str) -> None:
        """Load a model, which must succeed."""
        answer = self.load(name, url)
        assert answer.status_code == 200, f"{answer.text}\n{self.log_tail()}"

    def unload(self, name: str) -> requests.Response:
        return requests.delete(self.url(f"/models/{quote(name, safe='')}"), timeout=LOAD_SECONDS)

    def get(self, name: str) -> requests.Response:
        return requests.get(self.url(f"/models/{quote(name, safe='')}"), timeout=10)

    def names(self) -> list[str]:
        """The names of all loaded models, over all pages."""
        found: list[str] = []
        token = None
        while True:
            page = requests.get(self.url("/models"), params={"next_page_token": token}, timeout=10).json()
            found += [model["modelName"] for model in page["models"]]
            token = page.get("nextPageToken")
            if token is None:
                return found

    def invoke_url(self, name: str) -> str:
        return self.url(f"/models/{quote(name, safe='')}/invoke")

    def ask(self, name: str, body: Any = None, **headers: str) -> requests.Response:
        """Invoke a model with JSON; `_` in a header's name stands for `-`."""
        fields = {"Content-Type": "application/json"}
        fields.update({key.replace("_", "-"): value for key, value in headers.items()})
        data = body if isinstance(body, (str, bytes)) else json.dumps(body or {"instances": [1.0]})
        return self.session.post(self.invoke_url(name), data=data, headers=fields, timeout=90)

    def start_load(self, name: str, url: str) -> http.client.HTTPConnection:
        """Send a load and do not wait for its answer; closing the connection is a client that goes away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LOAD_SECONDS)
        connection.request("POST", "/models", json.dumps({"model_name": name, "url": url}))
        return connection

    def traces(self) -> set[str]:
        """Everything that a model may leave: files of the run directory, and supervisord's programs."""
        files = {str(path.relative_to(self.run_dir)) for path in self.run_dir.rglob("*")}
        programs = set(self.programs())
        # what is being replaced has another name for a moment
        passing = ("/.", ".tmp", ".partial")
        kept = {f for f in files if not f.startswith(VOLATILE) and not any(part in f for part in passing)}
        return (kept | programs) - {"environments"}

    def trace_of(self, name: str) -> set[str]:
        """What there is of a model with a plain name."""
        return {trace for trace in self.traces() if name in trace}


def make_wheel(directory: Path, name: str, version: str, source: str) -> None:
    """A wheel of one module, made by hand: no build tool is needed and no network."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


StartMultiModelStack = Callable[..., MultiModelStack]
