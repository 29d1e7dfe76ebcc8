"""Parsing of `X-Amzn-SageMaker-Custom-Attributes`: which model, version and method a request asks for.

Owns the header's grammar (hosting contract, section 3). Never checks that a model or a version exists, and
never turns a value into a part of a path.
"""

from typing import NamedTuple

from tfsd.errors import BadRequest
from tfsd.plan import MAX_VERSION

METHODS = ("predict", "classify", "regress")
MODEL_NAME, MODEL_VERSION, METHOD = "tfs-model-name", "tfs-model-version", "tfs-method"
INPUT_NAME, SIGNATURE_NAME = "tfs-input-name", "tfs-signature-name"


class Attributes(NamedTuple):
    """What a request asks for; a name or version of None means the default one, an
    input name of None the only one. The last two are for bodies of arrays and tf.Examples, which name neither."""

    model_name: str | None = None
    model_version: int | None = None
    method: str = "predict"
    input_name: str | None = None
    signature_name: str | None = None


def parse(header: str | None) -> Attributes:
    """Read the header's value, `tfs-model-name=…,tfs-model-version=…,tfs-method=…,tfs-input-name=…,
    tfs-signature-name=…`, all of them optional.

    Pairs are separated by commas, in any order, with names in any case and blanks anywhere around names and
    values; pairs whose name does not begin with `tfs-` belong to somebody else and are ignored.

    Raises:
        BadRequest: a `tfs-` pair that is unknown, has no value or a wrong one, or contradicts another.
    """
    if not header:
        return Attributes()
    values: dict[str, str] = {}
    for pair in header.split(","):
        written, equals, value = pair.partition("=")
        name, value = written.strip().lower(), value.strip()
        if not name.startswith("tfs-"):
            continue
        if (
            name not in (MODEL_NAME, MODEL_VERSION, METHOD, INPUT_NAME, SIGNATURE_NAME)
            or not equals
            or not value
        ):
            raise BadRequest(_refusal(pair, "it must be one of " + _known()))
        if values.setdefault(name, value) != value:
            raise BadRequest(_refusal(pair, f"{name} is also given as {values[name]!r}; name it once"))
    return Attributes(
        values.get(MODEL_NAME),
        _version(values.get(MODEL_VERSION)),
        _method(values.get(METHOD)),
        values.get(INPUT_NAME),
        values.get(SIGNATURE_NAME),
    )


def _version(value: str | None) -> int | None:
    if value is None:
        return None
    digits = value.lstrip("0") or "0"
    is_number = value.isascii() and value.isdigit()
    # The length comes first: int() refuses thousands of digits with an error of its own.
    if not is_number or len(digits) > 19 or int(digits) > MAX_VERSION:
        raise BadRequest(
            _refusal(f"{MODEL_VERSION}={value}", f"a version is a whole number from 0 to {MAX_VERSION}")
        )
    return int(digits)


def _method(value: str | None) -> str:
    if value is None:
        return "predict"
    if value not in METHODS:
        raise BadRequest(_refusal(f"{METHOD}={value}", "the methods are " + ", ".join(METHODS)))
    return value


def _refusal(pair: str, reason: str) -> str:
    return f"X-Amzn-SageMaker-Custom-Attributes: {pair.strip()[:200]!r} is not understood: {reason}"


def _known() -> str:
    return (
        f"{MODEL_NAME}=NAME, {MODEL_VERSION}=NUMBER, {METHOD}={'|'.join(METHODS)}, {INPUT_NAME}=NAME, "
        f"{SIGNATURE_NAME}=NAME"
    )
