"""pip's output in one line that says what to do."""

from __future__ import annotations

import pytest

from tfsd.start.pip_errors import explained

NO_INDEX = """
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by
'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new
connection: [Errno -3] Temporary failure in name resolution')': /simple/gevent/
ERROR: Could not find a version that satisfies the requirement gevent (from versions: none)
ERROR: No matching distribution found for gevent
"""
CONFLICT = """
ERROR: Cannot install a==1 and b==2 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested a==1
    b 2 depends on a>1

To fix this you could try to:
1. loosen the range of package versions you've specified
"""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (NO_INDEX, "The package index cannot be reached"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] …'))", "PIP_CERT"),
        ("ERROR: [Errno 13] Permission denied: '/venv/lib'\n", "/venv/lib cannot be written"),
        ("ERROR: No matching distribution found for a==1\n", "The package index has no a==1 for this Python"),
        (CONFLICT, "These requirements exclude each other: The user requested a==1; b 2 depends on a>1."),
        ("a line\nERROR: Something else.\nERROR: more\n", "pip fails: Something else."),
        ("nothing of use", ""),
    ],
)
def test_one_line(output: str, told: str) -> None:
    line = explained(output.splitlines())
    assert told in line
    assert "\n" not in line
    assert "conflicting" not in line
