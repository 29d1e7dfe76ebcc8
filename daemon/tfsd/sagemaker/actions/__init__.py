"""What each operation of the API does: one module an operation, named like it, found by name.

`CreateModel` is `actions/create_model.py` with `run(call, request) -> dict`. The request has been validated against
botocore's shape; the result is serialised by it, members that are None are left out. A module that is not there is an
operation that this emulator has not: add the file. Raises AwsError for what is refused.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable
from typing import Any

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import UnknownOperationException

Action = Callable[[Call, dict[str, Any]], dict[str, Any]]


@functools.cache
def find(operation: str) -> Action:
    """The action of an operation. Raises UnknownOperationException, which names it."""
    name = f"{__name__}.{module_name(operation)}"
    if not importlib.util.find_spec(name):
        raise UnknownOperationException(f"The operation {operation} is not part of local SageMaker.")
    action: Action = importlib.import_module(name).run
    return action


def module_name(operation: str) -> str:
    """`CreateEndpointConfig` → `create_endpoint_config`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
