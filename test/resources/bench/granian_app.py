"""The handler of test/resources/handlers/single.py as a WSGI application, for granian."""

import importlib.util
import os
from types import SimpleNamespace

spec = importlib.util.spec_from_file_location("inference", os.environ["BENCH_HANDLER"])
inference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(inference)


def application(environ, start_response):
    context = SimpleNamespace(
        rest_uri=os.environ["BENCH_REST_URI"],
        request_content_type=environ.get("CONTENT_TYPE"),
        accept_header=environ.get("HTTP_ACCEPT", "application/json"),
    )
    body, content_type = inference.handler(environ["wsgi.input"], context)
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]
