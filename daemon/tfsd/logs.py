"""Logging of tfsd's own processes: one line an event on stderr, under the name of the supervisord program.

Owns the format. Knows nothing of what is logged, and touches no logger but the root when `setup` is called.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class OneLineFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,123 worker-half-plus-two INFO text`; only a traceback takes further lines."""

    def __init__(self, program: str) -> None:
        super().__init__(f"%(asctime)s {program.replace('%', '%%')} %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """A message never forges a second line, whatever a request has put into it."""
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


def setup(program: str, level: int, stream: TextIO | None = None) -> None:
    """Send the root logger's events of at least `level` to `stream` (default: stderr), replacing handlers."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(OneLineFormatter(program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("urllib3", "botocore", "boto3"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
