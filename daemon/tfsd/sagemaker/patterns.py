"""Patterns of botocore's service models, which are Java's, as Python's."""

from __future__ import annotations

import functools
import re

# Properties of characters, as what stands between the brackets of a class. \w is more than letters and numbers by the
# underscore, which every pattern with \p{L} and \p{N} allows too.
PROPERTIES = {
    "ASCII": r"\x00-\x7f",
    "Print": r"\x20-\x7e",
    "Alnum": "a-zA-Z0-9",
    "L": r"\w",
    "N": r"\d",
    "Z": r"\s",
    "M": "\u0300-\u036f",
    "S": "$+<=>^`|~",
    "P": "!-#%-*,-/:;?@\\[-\\]_{}",
}
SURROGATES = (
    r"\uD800\uDC00-\uDBFF\uDFFF",
    r"\U00010000-\U0010ffff",
)  # how Java writes what lies above U+FFFF
TOKEN = re.compile(r"\\p\{(?P<property>\w+)\}|\\z|\\.|\[\^?\]?|\]|.", re.DOTALL)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern, to be matched in full; None for one that Python cannot express, which then accepts everything."""
    try:
        return re.compile(_translated(pattern), re.DOTALL)
    except re.error:
        return None


def _translated(pattern: str) -> str:
    parts = []
    in_class = False
    for token in TOKEN.finditer(pattern.replace(*SURROGATES)):
        text = token.group()
        if token["property"]:
            characters = PROPERTIES.get(token["property"], r"\w\W")
            text = characters if in_class else f"[{characters}]"
        elif text == r"\z":
            text = r"\Z"
        elif text.startswith("[") and not in_class:
            in_class = True
        elif text == "[" and in_class:
            text = r"\["
        elif text == "]":
            in_class = False
        parts.append(text)
    return "".join(parts)
