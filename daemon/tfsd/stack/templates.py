"""Rendering of `conf/`: the templates, and how a value is quoted in each of the formats they are written in."""

from __future__ import annotations

import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parents[1] / "conf"
OPTIONS: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
PLAIN_IN_PATHS = "-._~"  # and letters and digits: RFC 3986, section 2.3


def render(template: str, **values: object) -> str:
    """The text of `conf/<template>` with `values`. Raises jinja2.UndefinedError for a value that is missing."""
    return str(_environment().get_template(template).render(**values))


@functools.cache
def _environment() -> Any:
    """The jinja2.Environment that keeps the templates which this process has compiled, or found compiled."""
    import jinja2  # control renders nothing before a model is loaded or moved

    from tfsd.stack.compiled_templates import CompiledTemplates

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DIRECTORY),
        undefined=jinja2.StrictUndefined,
        bytecode_cache=CompiledTemplates(DIRECTORY, OPTIONS),
        **OPTIONS,
    )
    environment.filters.update(
        textproto=textproto,
        nginx=nginx,
        nginx_part=nginx_part,
        nginx_regex=nginx_regex,
        nginx_path_regex=nginx_path_regex,
        js=js,
        ini=ini,
        shell=shell,
    )
    return environment


def textproto(value: object) -> str:
    """A string literal of protobuf's text format, ASCII only."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
        for byte in str(value).encode()
    )
    return f'"{escaped}"'


def nginx(value: object) -> str:
    """A quoted parameter of nginx's configuration. Raises ValueError, see `nginx_part`."""
    return f'"{nginx_part(value)}"'


def nginx_part(value: object) -> str:
    """What stands inside a quoted parameter of nginx's configuration.

    Raises ValueError for what nginx would take for a variable.
    """
    text = str(value)
    if "$" in text or "\n" in text:
        raise ValueError(
            f"{text!r} cannot stand in nginx's configuration: it has a dollar sign or a line end"
        )
    return re.sub(r'(["\\])', r"\\\1", text)


def nginx_regex(value: object) -> str:
    """A regular expression that matches `value` itself, to be put inside a quoted parameter of nginx."""
    return "".join(
        chr(byte) if byte < 128 and chr(byte).isalnum() else f"\\\\x{byte:02x}"
        for byte in str(value).encode()
    )


def nginx_path_regex(value: object) -> str:
    """A regular expression that matches `value` as one segment of a path, percent-encoded as far as it must be or
    may be, to be put inside a quoted parameter of nginx. Letters and digits nobody encodes."""

    def written(byte: int) -> str:
        encoded = rf"(?i:%{byte:02x})"
        if chr(byte) in PLAIN_IN_PATHS:
            return f"\\\\x{byte:02x}"
        if chr(byte) in "/:?#%" or not 32 < byte < 127:
            return encoded
        return rf"(?i:\\x{byte:02x}|%{byte:02x})"

    return "".join(
        chr(byte) if byte < 128 and chr(byte).isalnum() else written(byte) for byte in str(value).encode()
    )


def js(value: Any) -> str:
    """A JavaScript literal."""
    return json.dumps(value, indent=2)


def ini(value: object) -> str:
    """A value of supervisord's configuration, in which `%` begins an expansion.

    Raises ValueError for what supervisord would cut off or read as something else.
    """
    text = str(value)
    if text != text.strip() or re.search(r"[\0\r\n]|\s[;#]", text):
        raise ValueError(
            f"{text!r} cannot stand in supervisord's configuration: it has a line end, a blank at an end, or"
            " a comment sign after a blank"
        )
    return text.replace("%", "%%")


def shell(words: list[str]) -> str:
    """A command line, quoted as supervisord splits it. Raises ValueError for a word that has a line end."""
    # A quote closed and opened again keeps a blank and a comment sign apart.
    return ini(re.sub(r"(\s)(?=[;#])", r"\1''", shlex.join(words)))
