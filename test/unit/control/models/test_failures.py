"""What the platform is told about a load that failed."""

from __future__ import annotations

import errno
import signal
from typing import Any

import pytest

from tfsd.control.ends import End
from tfsd.control.models.code_preparation import CodeError, NoRoomForCode
from tfsd.control.models.failures import answer
from tfsd.control.models.hosts import HostDied
from tfsd.control.models.readiness import PoolDied


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-signal.SIGKILL, 507),
        (-signal.SIGSEGV, 400),
        (-signal.SIGTERM, 503),
        (-signal.SIGABRT, 400),
        (255, 400),
    ],
)
def test_only_what_may_be_a_lack_of_memory_is_507(code: int, status: int) -> None:
    told: Any = answer("m", HostDied("model-m", End(1, code, "")), 60)
    assert told.status == status, told.message


@pytest.mark.parametrize(("code", "status"), [(-signal.SIGKILL, 507), (-signal.SIGSEGV, 400), (1, 400)])
def test_so_it_is_with_a_worker(code: int, status: int) -> None:
    told: Any = answer("m", PoolDied(End(1, code, "")), 60)
    assert told.status == status, told.message


@pytest.mark.parametrize(("kind", "status"), [(NoRoomForCode, 507), (CodeError, 400)])
def test_code_for_which_there_is_no_room_is_507(kind: type[CodeError], status: int) -> None:
    told: Any = answer("m", kind("why"), 60)
    assert (told.status, "why" in told.message) == (status, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_507_and_says_so(number: int) -> None:
    told: Any = answer("m", OSError(number, "No room", "/run/x"), 60)
    assert (told.status, "disk is full" in told.message) == (507, True)
