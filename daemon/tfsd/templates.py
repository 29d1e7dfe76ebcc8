"""Rendering of `conf/`: the templates, and how a value is quoted in each of the formats they are written in."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jinja2

DIRECTORY = Path(__file__).parent / "conf"


def render(template: str, **values: object) -> str:
    """The text of `conf/<template>` with `values`. Raises jinja2.UndefinedError for a value that is missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DIRECTORY),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        textproto=textproto, nginx=nginx, nginx_regex=nginx_regex, js=js, ini=ini, shell=shell
    )
    return environment.get_template(template).render(**values)


def textproto(value: object) -> str:
    """A string literal of protobuf's text format, ASCII only."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
        for byte in str(value).encode()
    )
    return f'"{escaped}"'


def nginx(value: object) -> str:
    """A quoted parameter of nginx's configuration. Raises ValueError for what nginx would take for a variable."""
    text = str(value)
    if "$" in text or "\n" in text:
        raise ValueError(
            f"{text!r} cannot stand in nginx's configuration: it has a dollar sign or a line end"
        )
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def nginx_regex(value: object) -> str:
    """A regular expression that matches `value` itself, to be put inside a quoted parameter of nginx."""
    hexadecimal = (
        f"\\\\x{byte:02x}" if not chr(byte).isalnum() else chr(byte) for byte in str(value).encode()
    )
    return "".join(hexadecimal)


def js(value: Any) -> str:
    """A JavaScript literal."""
    return json.dumps(value, indent=2)


def ini(value: object) -> str:
    """A value of supervisord's configuration, in which `%` begins an expansion."""
    return str(value).replace("%", "%%")


def shell(words: list[str]) -> str:
    """A command line, quoted as supervisord splits it."""
    return ini(shlex.join(words))
