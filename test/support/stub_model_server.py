#!/usr/bin/env python3
"""A model server that answers at once and at next to no cost: nginx with fixed answers behind its flags.

For measurements of everything around a model server; SAGEMAKER_TFS_BINARY names it. Any model it is asked for
is AVAILABLE in version 1, and every prediction is the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tfsd.stack import nginx

CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port};
        location ~ :predict$ {{ return 200 '{{"predictions": [2.5, 3.0, 4.5]}}'; }}
        location / {{
            return 200 '{{"model_version_status": [{{"version": "1", "state": "AVAILABLE",
                        "status": {{"error_code": "OK", "error_message": ""}}}}]}}';
        }}
    }}
}}
"""


def main() -> None:
    flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    directory = tempfile.mkdtemp(prefix="stub-model-server-")
    configuration = Path(directory, "nginx.conf")
    configuration.write_text(CONFIGURATION.format(directory=directory, port=flags["rest_api_port"]))
    binary = nginx.find().binary
    os.execv(binary, [binary, "-p", directory, "-e", "stderr", "-c", str(configuration)])


if __name__ == "__main__":
    main()
