"""A small S3 that lists two keys a page."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 2


class SmallS3(ThreadingHTTPServer):
    """One bucket, `bucket`, with `objects` by key, at an address of this machine."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Handler)
        self.objects: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: SmallS3

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, bucket, key = [*unquote(url.path).split("/", 2), ""][:3]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, body = 404, b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>"
        if bucket == "bucket":
            body = self.server.objects.get(key, b"") if key else self._list(query)
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _list(self, query: dict[str, str]) -> bytes:
        keys = sorted(key for key in self.server.objects if key.startswith(query.get("prefix", "")))
        start = int(query.get("continuation-token", 0))
        shown = keys[start : start + PAGE]
        more = start + PAGE < len(keys)
        items = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in shown)
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{items}{token}</ListBucketResult>"
        ).encode()

    def log_message(self, *_: object) -> None:
        pass
