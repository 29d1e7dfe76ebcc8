"""The clients of SageMaker that users have, in an environment of their own: the AWS CLI and the Python SDK."""

from __future__ import annotations

from pathlib import Path

from support import client_environments

REQUIREMENTS = Path(__file__).parents[1] / "resources" / "sagemaker" / "clients.txt"


def clients() -> Path:
    """The directory of their programs. Skips the test where they cannot be installed."""
    return client_environments.programs("sagemaker", REQUIREMENTS)
