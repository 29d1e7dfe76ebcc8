"""From JSON text, one document or many, to the model server's REST body.

Owns finding where documents begin and end and which of them are instances (hosting contract, section 9).
Values are never parsed and written anew: the text of an instance reaches the model server byte for byte.

msgspec checks a document's grammar without building its values, about seven times as fast as a parser and in
no memory to speak of. What it refuses goes to the standard library's scanner, which also finds the ends of
documents that are not one a line.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from tfsd.errors import BadRequest
from tfsd.worker.conversion import limits
from tfsd.worker.conversion.media_type import line_at

NATIVE_KEYS = frozenset({"instances", "inputs", "examples"})

_BLANK = b" \t\r\n"
_skip_blanks = re.compile(r"[ \t\r\n]*").match
_check: Callable[[bytes], object] = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_scan = json.JSONDecoder().raw_decode
# The model server also reads NaN, Infinity, Inf and their negatives, which are not JSON. For finding ends
# they are overwritten by numbers of the same length; inside a string that does no harm.
_MASKS = ((b"Infinity", b"0.000000"), (b"NaN", b"0.0"), (b"Inf", b"0.0"))


def to_instances(text: bytes, spread: bool) -> bytes:
    """Turn JSON text into the model server's REST body.

    - One object with a key `instances`, `inputs` or `examples` is passed on byte for byte.
    - One array of arrays or of objects, if `spread`, is one instance per element.
    - Any other single document is one instance.
    - Several documents are several instances, whatever their keys: `inputs` and `examples` are usual names
      of a model's inputs. Only a document with the key `instances` beside others is refused.

    Args:
        text: UTF-8, one document or several, separated by blanks, line ends or nothing.
        spread: whether a lone array may hold several instances; false where a document is one instance by
            its content type (JSON lines).

    Raises:
        BadRequest: no document, or text that is not JSON; the message names the line.
    """
    if not text.strip(_BLANK):
        raise BadRequest("Line 1: the body is empty; send a JSON document.")
    if _is_native(text):
        return text
    try:
        return _to_instances(text, spread)
    except RecursionError:
        raise limits.too_deep() from None


def _is_native(text: bytes) -> bool:
    """Whether the text is one object with a key of TensorFlow Serving's own, found in one pass; false in any doubt."""
    try:
        return text[:64].lstrip(_BLANK)[:1] == b"{" and not NATIVE_KEYS.isdisjoint(_members(text))
    except (msgspec.DecodeError, RecursionError):
        return False


def _to_instances(text: bytes, spread: bool) -> bytes:
    for shape in _shapes(text):
        if _is_document(shape):
            return _lone(text, shape.strip(_BLANK), spread)
        documents = _lines(text, shape)
        if documents:
            break
    else:
        documents = _anywhere(text, shape)
        if len(documents) == 1:
            return _lone(text, shape.strip(_BLANK), spread)
    return b'{"instances":[' + b",".join(documents) + b"]}"


def _shapes(text: bytes) -> Iterator[bytes]:
    """The text itself and, if that may help, the text with numbers in place of NaN and Infinity."""
    yield text
    if b"NaN" in text or b"Inf" in text:
        shape = text
        for token, number in _MASKS:
            shape = shape.replace(token, number)
        yield shape


def _is_document(shape: bytes) -> bool:
    try:
        _check(shape)
    except msgspec.DecodeError:
        return False
    return True


def _lone(text: bytes, shape: bytes, spread: bool) -> bytes:
    """The REST body for a text that is one document; `shape` is that document without blanks around it."""
    if shape.startswith(b"{") and not NATIVE_KEYS.isdisjoint(_keys(shape)):
        return text
    if spread and _is_array_of_containers(shape):
        return b'{"instances":' + text.strip(_BLANK) + b"}"
    return b'{"instances":[' + text.strip(_BLANK) + b"]}"


def _keys(shape: bytes) -> Iterable[str]:
    try:
        return _members(shape)
    except msgspec.DecodeError:  # a lone surrogate, which only the standard library lets pass
        members: dict[str, object] = json.loads(shape)
        return members


def _is_array_of_containers(shape: bytes) -> bool:
    # Only the first element is looked at before the array is taken apart: a vector of numbers is long.
    if not shape.startswith(b"[") or shape[1:64].lstrip(_BLANK)[:1] not in (b"[", b"{", b""):
        return False
    try:
        elements = _elements(shape)
    except msgspec.DecodeError:
        return all(isinstance(element, list | dict) for element in json.loads(shape))
    return bool(elements) and all(bytes(element)[:1] in (b"[", b"{") for element in elements)


def _lines(text: bytes, shape: bytes) -> list[bytes]:
    """The documents of a text that has one on each line that is not blank, or one directly after another; none if
    it is anything else."""
    documents: list[bytes] = []
    wrapped = 0
    parted = _part(text)
    lines = parted.splitlines()
    shapes = lines if shape is text else _part(shape).splitlines()
    for number, (line, line_shape) in enumerate(zip(lines, shapes, strict=True), 1):
        document = line.strip(_BLANK)
        if not document:
            continue
        if not _is_document(line_shape):
            return []
        if not wrapped and _may_be_wrapped(document) and "instances" in _keys(line_shape):
            wrapped = number
        documents.append(document)
    if wrapped and len(parted) != len(text):
        return []  # whoever names the line must count those of the text itself
    if wrapped:
        raise _second_document(wrapped)
    return documents


def _part(text: bytes) -> bytes:
    """A line for each document, also where one follows another directly. Wrong within strings, which are then no
    documents any more."""
    if b"[" not in text and b"{" not in text:
        return text.replace(b" ", b"\n")
    return text.replace(b"}{", b"}\n{").replace(b"][", b"]\n[")


def _anywhere(text: bytes, shape: bytes) -> list[bytes]:
    """The documents of a text in which they follow one another with or without blanks between them."""
    characters = shape.decode("latin-1")  # one character a byte, so that offsets are the same
    documents: list[bytes] = []
    wrapped = None
    end = 0
    while (start := _skip_blanks(characters, end).end()) < len(characters):  # type: ignore[union-attr]
        if documents and start == end and characters[end - 1] not in '}]"':
            raise _not_json(text, start, "a number or a word is followed by something else")
        try:
            value, end = _scan(characters, start)
        except json.JSONDecodeError as error:
            raise _not_json(text, error.pos, error.msg) from None
        except ValueError:  # Python's own limit on the digits of an integer
            raise limits.too_many_digits() from None
        if wrapped is None and isinstance(value, dict) and "instances" in value:
            wrapped = start
        documents.append(text[start:end])
    if wrapped is not None and len(documents) > 1:
        raise _second_document(line_at(text, wrapped))
    return documents


def _may_be_wrapped(document: bytes) -> bool:
    return document.startswith(b"{") and b'"instances"' in document


def _second_document(line: int) -> BadRequest:
    return BadRequest(
        f'Line {line}: a document with the key "instances" must be the only one of a request. Send one such'
        ' document a request, or all instances in one, or one instance a line without "instances" around it'
        " (for batch transform: no SplitType)."
    )


def _not_json(text: bytes, offset: int, reason: str) -> BadRequest:
    column = offset - max(text.rfind(b"\n", 0, offset), text.rfind(b"\r", 0, offset))
    return BadRequest(
        f"Line {line_at(text, offset)}, column {column}: the body is not JSON ({reason}). Send one JSON"
        " document, or one after another; for CSV send Content-Type: text/csv."
    )
