"""A page of the documentation, done as a reader does it: files are written, commands run, answers compared.

A block is marked by its language: `python title="…"` is a file, `bash` are commands, and a `json` or `text` block right
after commands is what they print; in a `console` block are commands, after `$ `, and what they print, with `…` for what
is left out. A command that serves stays until the next one that does, or until the page's end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SECONDS = 300  # TensorFlow trains models in one of them, which a busy machine takes minutes for
PORTS_OF_THE_PAGES = re.compile(r"(?<=:)808[01]\b|--port 808[01]\b")


class Walkthrough:
    """Does a page's blocks in `directory`, on a port of its own instead of 8080. Ends what it started."""

    def __init__(self, directory: Path, run_dir: Path, port: int, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._run_dir = run_dir
        self._port = str(port)
        self._environ = {**os.environ, **environ, "SAGEMAKER_BIND_TO_PORT": self._port}
        self._serving: subprocess.Popen[bytes] | None = None
        for name in ("bin", "examples"):
            (directory / name).symlink_to(ROOT / name)

    def do(self, page: Path) -> int:
        """Do all blocks; returns how many outputs were compared."""
        compared, printed = 0, ""
        try:
            for language, title, text in _blocks(page):
                if title:
                    path = self._directory / title
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
                elif language == "bash":
                    printed = self._run(text)
                elif language == "console":
                    for command, output in SESSION.findall(text):
                        printed = self._run(command)
                        assert pattern(output.strip()).fullmatch(printed.strip()), f"{page.name}: {printed!r}"
                        compared += 1
                elif language in ("json", "text"):
                    assert _value(printed) == _value(text), f"{page.name}: {printed!r}"
                    compared += 1
        finally:
            self._stop()
        return compared

    def _run(self, commands: str) -> str:
        commands = PORTS_OF_THE_PAGES.sub(lambda port: port[0][:-4] + self._port, commands)
        if "bin/local sagemaker" in commands or commands.startswith("kubectl"):
            return ""  # a server of another kind, or a cluster: for other tests
        if "bin/local serve" in commands:
            serve, _, commands = commands.strip().partition("\n")
            self._serve(f"{serve} --run-dir {self._run_dir}")
        done = subprocess.run(
            ["bash", "-ec", commands],
            cwd=self._directory,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _serve(self, command: str) -> None:
        self._stop()
        log = self._directory / "log"
        with log.open("wb") as output:
            self._serving = subprocess.Popen(
                [
                    "bash",
                    "-c",
                    command.replace("./bin/local", "exec ./bin/local").replace("exec exec", "exec"),
                ],
                cwd=self._directory,
                env=self._environ,
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + SECONDS
        while not self._healthy():
            assert self._serving.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)

    def _healthy(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/ping", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def _stop(self) -> None:
        if self._serving is not None:
            self._serving.send_signal(signal.SIGINT)
            self._serving.wait(SECONDS)
            self._serving = None


def _blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    for match in BLOCK.finditer(page.read_text()):
        yield match[1], match[2] or "", match[3]


def pattern(output: str) -> re.Pattern[str]:
    """What matches an output in which `…` stands for something."""
    return re.compile(r"[^\n]+".join(re.escape(part) for part in output.split("…")))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
