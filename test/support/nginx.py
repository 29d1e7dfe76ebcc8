"""A small nginx of a test's own, on a unix socket: for parts of the configuration and the routing script."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import time
from pathlib import Path

from tfsd.stack.nginx import Nginx


class RunningNginx:
    """An nginx that serves on a unix socket.

    `http_block` is what is inside the http block; LISTEN and DIRECTORY stand for its address and directory.
    """

    def __init__(self, nginx: Nginx, directory: Path, http_block: str):
        self.socket = directory / "nginx.sock"
        module = f'load_module "{nginx.njs_module}";' if nginx.njs_module else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f'{kind}_temp_path "{directory}/{kind}";' for kind in kinds)
        block = http_block.replace("LISTEN", f"unix:{self.socket}").replace("DIRECTORY", str(directory))
        conf = directory / "nginx.conf"
        conf.write_text(
            f'{module} pcre_jit on; daemon off; master_process off; pid "{directory}/pid"; error_log stderr;\n'
            f"events {{ worker_connections 64; }}\nhttp {{ access_log off; {temporary}\n{block} }}\n"
        )
        command = [nginx.binary, "-p", str(directory), "-e", "stderr", "-c", str(conf)]
        self.log = log = directory / "error.log"
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr)
        for _ in range(500):
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            time.sleep(0.01)
        self.stop()
        raise AssertionError(log.read_text())

    def connect(self) -> http.client.HTTPConnection:
        """A kept-alive connection."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        return connection

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
