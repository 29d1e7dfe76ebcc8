"""The handler of test/resources/handlers/single.py as a mosec server."""

import importlib.util
import io
import os
from types import SimpleNamespace

from mosec import Server, Worker


class Handler(Worker):
    def __init__(self):
        super().__init__()
        spec = importlib.util.spec_from_file_location("inference", os.environ["BENCH_HANDLER"])
        self._inference = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._inference)

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data

    def forward(self, data):
        context = SimpleNamespace(
            rest_uri=os.environ["BENCH_REST_URI"],
            request_content_type="application/json",
            accept_header="application/json",
        )
        return self._inference.handler(io.BytesIO(data), context)[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Handler, num=int(os.environ["BENCH_WORKERS"]))
    server.run()
