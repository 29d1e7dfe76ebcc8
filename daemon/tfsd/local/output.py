"""What a stack prints, less what only a debugger wants: notices of supervisord, of TensorFlow and of our own.

Warnings, errors, the access log and whatever user code prints pass.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from typing import IO

NOTICE = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:\S+ )?(?:INFO|DEBG|DEBUG|BLAT|TRAC) "  # supervisord and tfsd
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} CRIT Server 'unix_http_server' running without"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARN received SIG\w+ indicating exit request"
    rb"|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?:notice|info|debug)\] "  # nginx
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} I "  # the embedded model server
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: I "  # TensorFlow
    rb"|\[evhttp_server\.cc : \d+\] NET_LOG: "  # tensorflow_model_server
    rb"|I\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ "  # absl
    rb"|[IW]0000 00:00:\d+\.\d+ +\d+ "  # absl before it is initialized
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions: "
)


def is_notice(line: bytes) -> bool:
    """Whether a line, as a program of the stack prints it, tells nothing to somebody for whom all is well."""
    return NOTICE.match(line) is not None


def pass_on(source: IO[bytes], target: IO[bytes]) -> threading.Thread:
    """Copy lines but notices from `source` to `target` until the end of `source`, in a thread."""

    def copy() -> None:
        for line in source:
            if not is_notice(line):
                with contextlib.suppress(OSError):  # nobody reads any more
                    target.write(line)
                    target.flush()

    thread = threading.Thread(target=copy, name=f"output-{os.getpid()}", daemon=True)
    thread.start()
    return thread
