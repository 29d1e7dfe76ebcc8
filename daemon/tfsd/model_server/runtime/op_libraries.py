"""Operations that TensorFlow does not have of itself: loading the libraries that bring them, before any model.

Knows nothing of models; `load_errors` names the flag where an operation is missing.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterable

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime import tf

log = logging.getLogger(__name__)


def load(libraries: Iterable[str]) -> None:
    """Register the operations and kernels of libraries.

    Args:
        libraries: each a path (with a slash in it, or ending in .so), or the name of an installed Python package
            that registers its operations when it is imported.
    Raises ServingError: NOT_FOUND or FAILED_PRECONDITION, with the library's name.
    """
    for library in libraries:
        started = time.monotonic()
        if "/" in library or library.endswith(".so"):
            _load_file(library)
        else:
            _import_package(library)
        log.info("Loaded the op library %s in %.1f s", library, time.monotonic() - started)


def _load_file(path: str) -> None:
    try:
        tf.load_op_library(path)
    except (
        tf.errors.NotFoundError
    ) as error:  # also a library of another TensorFlow, whose symbols are missing
        raise ServingError(
            Code.NOT_FOUND, f"The op library {path} cannot be loaded: {error.message}"
        ) from None
    except (tf.errors.OpError, RuntimeError) as error:
        raise ServingError(
            Code.FAILED_PRECONDITION, f"The op library {path} cannot be loaded: {error}"
        ) from None


def _import_package(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ServingError(
            Code.NOT_FOUND,
            f"The op library {name} is not an installed Python package ({error}). Install it where this server's "
            "TensorFlow is, in the version that was made for it, or give the path of a file.",
        ) from None
    except Exception as error:  # whatever the package's own code raises
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"The op library {name} cannot be imported: {type(error).__name__}: {error}",
        ) from None
