"""moto's server for everything that is not SageMaker: S3, STS, IAM, CloudWatch, Logs, ECR, SNS and the rest.

Owns nothing but the application. What deploy scripts expect to be there already is made when it is first named: roles.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tfsd.sagemaker.object_store import ObjectStore
from tfsd.sagemaker.state import ACCOUNT

TRUST_SAGEMAKER = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": '
    '"sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
)
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role(?P<path>/(?:.+/)?)(?P<name>[^/]+)")


class OtherServices:
    """A WSGI application. S3's writes are settled in the object store before they are answered."""

    def __init__(self, objects: ObjectStore) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._objects = objects

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        service = signed_for(environ)[1]
        # moto takes a key from the path as it came; it would decode PATH_INFO, which is decoded, once more
        environ.setdefault(
            "RAW_URI", environ.get("REQUEST_URI", quote(environ["PATH_INFO"], encoding="latin-1"))
        )
        if service == "iam":
            self._make_role_named_in(environ)
        answer = self._application(environ, start_response)
        if service not in ("s3", None) or environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return answer
        try:
            body = list(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        bucket, _, key = path.lstrip("/").partition("/")
        if bucket:
            self._objects.settle(bucket, key or None)
        return body

    def make_role(self, arn: str) -> None:
        """Make a role that a request names, unless it exists."""
        found = ROLE.fullmatch(arn)
        if found:
            _make_role(found["name"], found["path"])

    def _make_role_named_in(self, environ: dict[str, Any]) -> None:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        form = parse_qs(body.decode("latin-1"))
        if form.get("Action") == ["GetRole"] and form.get("RoleName"):
            _make_role(unquote(form["RoleName"][0]), "/")


def _make_role(name: str, path: str) -> None:
    backend = get_backend("iam")[ACCOUNT]["aws"]
    if any(role.name == name for role in backend.roles.values()):
        return
    with contextlib.suppress(ServiceException):
        backend.create_role(name, TRUST_SAGEMAKER, path, None, "Made by local SageMaker.", [], "3600")


def signed_for(environ: dict[str, Any]) -> tuple[str | None, str | None]:
    """Region and service that a request is signed for (in its header or its query), if it says so."""
    credential = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    if credential is None and "X-Amz-Credential" in environ.get("QUERY_STRING", ""):
        query = unquote(environ["QUERY_STRING"])
        credential = re.search(r"X-Amz-Credential=[^/]+/\d+/([^/]+)/([^/]+)/", query)
    return (credential[1], credential[2]) if credential else (None, None)
