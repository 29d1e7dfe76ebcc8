"""What the fuzzer sends: requests made of seeds, by mutations that a seed number repeats.

Owns the making of bytes; it opens no connection.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
TYPES = (
    "application/json",
    "application/jsonlines",
    "application/x-ndjson",
    "text/csv",
    "text/csv; header=present",
    "application/json; charset=utf-16",
    "application/x-npy",
    "",
    "nonsense",
    "text/csv; charset=nothing",
)
ACCEPTS = (
    "application/json",
    "text/csv",
    "application/jsonlines",
    "*/*",
    "text/csv;q=x",
    "image/png",
    "\xff\xfe",
)
TOKENS = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b"\\",
        b"\\u12",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
    *(
        b"NaN",
        b"1e999",
        b"-",
        b"0" * 50,
        b"9" * 5000,
        b"[" * 3000,
        b'{"a":' * 400,
        b'"instances"',
        b'"inputs"',
    ),
    *(b'"b64"', b"null", b"true", b"1.0", b"\xe2\x80\xa8", b"\x1f\x8b", b" " * 100),
)
ATTRIBUTES = (
    "tfs-model-name=half_plus_two",
    "tfs-method=regress",
    "tfs-method=classify",
    "tfs-model-version=123",
    "tfs-model-version=" + "9" * 30,
    "tfs-method",
    "note=tfs-model-name=x",
    "tfs-model-name=%00,tfs-model-name=",
    ",".join(["a=b"] * 300),
)
PATHS = (
    "/invocations",
    "/ping",
    "/metrics",
    "/models",
    "/models/x/invoke",
    "/",
    "/invocations?a=" + "b" * 9000,
)
METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "QQQ")


def seeds() -> list[bytes]:
    """The bodies that mutations begin with: files, of which each is one that once found something or is usual."""
    return [path.read_bytes() for path in sorted(SEEDS.iterdir())]


class Inputs:
    """A stream of requests as bytes, the same for the same `seed`."""

    def __init__(self, seed: int, invocations: str = "/invocations") -> None:
        """`invocations`: the path of predictions."""
        self._random = random.Random(seed)
        self._invocations = invocations
        self._seeds = seeds()
        self._kinds: tuple[Callable[[], bytes], ...] = (
            *(self._invocation,) * 12,
            *(self._framing,) * 3,
            *(self._models_api,) * 3,
            *(self._named_in_path,) * 4,
            self._garbage,
        )

    def next(self) -> bytes:
        """One request, or what looks like one, or not even that."""
        return self._random.choice(self._kinds)()

    def next_grpc(self) -> bytes:
        """Bytes for a gRPC port: a connection's preface, then frames of any kind, length and content, or none."""
        pick = self._random
        data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if pick.random() < 0.9 else pick.randbytes(20)
        for _ in range(pick.randrange(6)):
            payload = pick.randbytes(pick.choice((0, 4, 5, 6, 8, 40, 4000)))
            length = len(payload) if pick.random() < 0.8 else pick.randrange(1 << 24)
            stream = pick.choice((0, 1, 1, 3, 2, 2**31 - 1))
            data += length.to_bytes(3, "big") + bytes((pick.randrange(12), pick.randrange(256)))
            data += stream.to_bytes(4, "big") + payload
        return data

    def _body(self) -> bytes:
        pick = self._random
        body = bytearray(pick.choice(self._seeds))
        for _ in range(pick.choice((0, 1, 1, 2, 5))):
            at = pick.randrange(len(body) + 1)
            kind = pick.randrange(5)
            if kind == 0:
                body[at:at] = pick.choice(TOKENS)
            elif kind == 1:
                del body[at : at + pick.choice((1, 2, 10, 1000))]
            elif kind == 2 and body:
                body[at % len(body)] = pick.randrange(256)
            elif kind == 3:
                body[at:at] = pick.choice(self._seeds)
            else:
                body += bytes(body[:at]) * pick.choice((1, 2, 20))
        return bytes(body[:200_000])

    def _headers(self, body: bytes) -> list[str]:
        pick = self._random
        headers = ["Host: x"]
        if kind := pick.choice(TYPES):
            headers.append(f"Content-Type: {kind}")
        if pick.random() < 0.3:
            headers.append(f"Accept: {pick.choice(ACCEPTS)}")
        for _ in range(pick.choice((0, 0, 1, 2))):
            headers.append(f"X-Amzn-SageMaker-Custom-Attributes: {pick.choice(ATTRIBUTES)}")
        if pick.random() < 0.02:
            headers += [f"X-{n}: {n}" for n in range(pick.choice((50, 250, 2000)))]
        return headers

    def _invocation(self) -> bytes:
        pick, body = self._random, self._body()
        headers = self._headers(body)
        if pick.random() < 0.1:
            body = gzip.compress(body, mtime=0) if pick.random() < 0.7 else body
            headers.append("Content-Encoding: " + pick.choice(("gzip", "gzip", "br", "gzip, gzip")))
        headers.append(f"Content-Length: {len(body)}")
        path = self._invocations if pick.random() < 0.9 else pick.choice(PATHS)
        return _request(pick.choice(METHODS) if pick.random() < 0.1 else "POST", path, headers, body)

    def _framing(self) -> bytes:
        """Lengths and chunks that are wrong, or strange and right."""
        pick, body = self._random, self._body()[:2000]
        headers = self._headers(body)
        if pick.random() < 0.5:
            headers.append("Transfer-Encoding: chunked")
            size = pick.choice((b"%x" % len(body), b"zz", b"-1", b"ffffffffffffffff", b"%x;a=b" % len(body)))
            body = size + b"\r\n" + body + pick.choice((b"\r\n0\r\n\r\n", b"\r\n0\r\n", b"0\r\n\r\n", b""))
        else:
            length = pick.choice((str(len(body)), "-1", "x", str(len(body) + 5), "1e3", "9" * 30))
            headers += [f"Content-Length: {length}"] * pick.choice((1, 1, 2))
        return _request("POST", self._invocations, headers, body)

    def _models_api(self) -> bytes:
        pick = self._random
        name = pick.choice(("m", "../x", "%00", "\xe4", "a" * 5000, "", "<b>", "m/invoke"))
        url = pick.choice(
            ("/opt/ml/models/m/model", "/etc", "..", "\0", "x" * 5000, 5, None, ["a"], {"a": 1})
        )
        body = json.dumps({"model_name": pick.choice((name, 5, None)), "url": url}).encode()
        if pick.random() < 0.5:
            body = self._body()[:5000]
        path = pick.choice(
            ("/models", f"/models/{name}", f"/models/{name}/invoke", "/models?next_page_token=x")
        )
        headers = [*self._headers(body), f"Content-Length: {len(body)}"]
        method = pick.choice(("POST", "POST", "GET", "DELETE", "PUT"))
        if path == "/models/m":
            method = method.replace("DELETE", "GET")  # the model stays: its process must not end
        return _request(method, path, headers, body)

    def _named_in_path(self) -> bytes:
        """TensorFlow Serving's REST API and the Open Inference Protocol: right and wrong paths, tensors, lengths."""
        pick = self._random
        name = pick.choice(
            ("matrix", "half_plus_two", "coded", "m", "nope", "%2e%2e", "a%2Fb", "%ff", "\xe4")
        )
        version = pick.choice(
            ("", "", "", "/versions/123", "/versions/" + "9" * 30, "/labels/x", "/versions/-1")
        )
        headers: list[str] = []
        if pick.random() < 0.4:
            way = pick.choice(
                (":predict", ":predict", ":classify", ":regress", "", "/metadata", ":x", "/../y:predict")
            )
            path, body = f"/v1/models/{name}{version}{way}", self._body()
        else:
            way = pick.choice(("/infer", "/infer", "/infer", "/ready", "", "/x"))
            path = f"/v2/models/{name}{version}{way}"
            body, headers = self._tensors()
        headers = [*self._headers(body), *headers, f"Content-Length: {len(body)}"]
        return _request(pick.choice(("POST", "POST", "POST", "GET", "HEAD")), path, headers, body)

    def _tensors(self) -> tuple[bytes, list[str]]:
        """A V2 body that is about right, or one that a mutation has broken, and its header of the JSON's length."""
        pick = self._random
        entries, rest = [], b""
        for _ in range(pick.choice((1, 1, 2, 5))):
            entry: dict[str, object] = {
                "name": pick.choice(("x", "input", "a", "")),
                "datatype": pick.choice(("FP32", "FP32", "INT64", "BYTES", "BF16", "BOOL", "FP", 5)),
                "shape": pick.choice(([1], [1, 2], [2, 2], [], [0], [-1], [2**62, 4], [1] * 80, "x")),
            }
            if pick.random() < 0.5:
                size = pick.choice((0, 4, 8, 16, 2**40, -1))
                entry["parameters"] = {"binary_data_size": size}
                rest += pick.randbytes(max(0, min(size, 64)))
            else:
                entry["data"] = pick.choice(
                    ([1.0], [1, 2], [[1, 2], [3, 4]], ["a"], [[]], [[1], 2], {}, [None])
                )
            entries.append(entry)
        document = {"inputs": entries, "outputs": pick.choice(([], [{"name": "y"}], 5))}
        text = json.dumps(document).encode() if pick.random() < 0.8 else self._body()
        length = pick.choice((len(text), len(text), len(text), 0, len(text) + 1, 2**70, "-1", "x"))
        return text + rest, [
            f"Inference-Header-Content-Length: {length}"
        ] if rest or pick.random() < 0.3 else []

    def _garbage(self) -> bytes:
        """Bytes that are no HTTP."""
        pick = self._random
        return pick.choice((b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01")) + pick.randbytes(
            pick.choice((1, 20, 3000))
        )


def _request(method: str, path: str, headers: list[str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body
