"""What can go wrong while a SavedModel is loaded, in the words of the real server's loader."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime import tf
from tfsd.model_server.runtime.session import serving_error
from tfsd.model_server.varint import read_varint

_OP_LIBRARIES = (
    "If a library or a Python package such as tensorflow_text brings this op, name its path or its name in "
    "SAGEMAKER_TFS_OP_LIBRARIES (--op_libraries)."
)
#: What Session.run() puts before the text of a failed kernel.
_PREAMBLE = re.compile(r"\AGraph execution error:.*?^Node: '[^']*'\n", re.DOTALL | re.MULTILINE)


def load_error(error: Exception, path: str, tags: Sequence[str]) -> ServingError:
    """The status for an exception of TensorFlow's SavedModel loader.

    Args:
        path: the version's directory.
        tags: those that were asked for.
    """
    text = str(error)
    if isinstance(error, OSError) and "Cannot parse file" in text:
        return _unreadable(f"{path}/saved_model.pb")
    if isinstance(error, OSError) and "does not exist" in text:
        return ServingError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. Check that "
            "the directory exists and that you have the right permissions for accessing it.",
        )
    if isinstance(error, RuntimeError) and "could not be found in SavedModel" in text:
        return ServingError(
            Code.NOT_FOUND,
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect "
            "available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
        )
    if isinstance(error, ValueError) and "not a valid checkpoint" in text:
        return ServingError(
            Code.NOT_FOUND,
            f"The SavedModel has variables but no checkpoint: {path}/variables/variables.index does not exist. "
            "Copy the whole directory that the model was saved to.",
        )
    status = serving_error(error)
    if "Op type not registered" in text:
        return ServingError(Code.NOT_FOUND, f"{_PREAMBLE.sub('', status.message)} {_OP_LIBRARIES}")
    return ServingError(status.code, _PREAMBLE.sub("", status.message))


def _unreadable(file: str) -> ServingError:
    with tf.GFile(file, "rb") as stream:
        if is_truncated(stream.read()):
            return ServingError(Code.OUT_OF_RANGE, "Read less bytes than requested")
    return ServingError(Code.DATA_LOSS, f"Can't parse {file} as binary proto")


def is_truncated(message: bytes) -> bool:
    """Whether a serialized message ends within one of its fields (else it is corrupt, if it cannot be read)."""
    at = 0
    try:
        while at < len(message):
            tag, at = read_varint(message, at)
            kind = tag & 7
            if kind == 0:
                _, at = read_varint(message, at)
            elif kind == 2:
                length, at = read_varint(message, at)
                at += length
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return False
    except IndexError:
        return True
    return at > len(message)
