"""Logging of tfsd's own processes: one line an event on stderr, under the name of the supervisord program.

Owns the format. Knows nothing of what is logged, and touches no logger but the root and those of tfsd when `setup` is
called.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from contextvars import ContextVar
from typing import TextIO

TEXT, JSON = "text", "json"
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that a greenlet works on: set by the application, shown in each log line about it."""


class OneLineFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,123 worker-half-plus-two INFO [request id] text`; only a traceback takes further lines.

    Without a request there is no id.
    """

    def __init__(self, program: str) -> None:
        super().__init__(f"%(asctime)s {program.replace('%', '%%')} %(levelname)s %(request)s%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """A message never forges a second line, whatever a request has put into it."""
        current = request_id.get()
        record.request = f"[{current}] " if current else ""
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), program, level, message; request_id and traceback if any."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        document = {
            "time": moment.isoformat(timespec="milliseconds"),
            "program": self._program,
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if request_id.get():
            document["request_id"] = request_id.get()
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


FORMATTERS = {TEXT: OneLineFormatter, JSON: JsonFormatter}


class _Enabled(logging.Logger):
    """A logger of ours, which user code's `dictConfig` and `fileConfig` disable with all that they do not name."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, _: bool) -> None:
        """Ignored."""


def setup(program: str, level: int, stream: TextIO | None = None, form: str = TEXT) -> None:
    """Send the root logger's events of at least `level` to `stream` (default: stderr), replacing handlers.

    `form` is TEXT or JSON. The loggers that tfsd has by now stay enabled, whatever user code configures.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(FORMATTERS[form](program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("urllib3", "botocore", "boto3"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    for name, logger in logging.Logger.manager.loggerDict.items():
        if type(logger) is logging.Logger and name.partition(".")[0] == "tfsd":
            logger.__class__ = _Enabled
