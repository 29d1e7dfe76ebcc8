"""Quoting in rendered files, read back by the programs that they are written for."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from typing import Any

import jinja2
import pytest
from google.protobuf import text_format
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import example, given
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from tfsd.stack import templates
from tfsd.stack.compiled_templates import CompiledTemplates

ODD = [
    "half plus two",
    " ;half",
    "a ; b # c",
    "a;b#c",
    "it's",
    'say "hi"',
    "50% of %(here)s %%",
    "$HOME `id` $(id)",
    "back\\slash \\n \\",
    "{{ braces }} {% if %}",
    "übergröße 模型 👩‍💻",
    "a\tb",
    "\u2028 ; \x85 #",
    "",
    " ",
    "-",
    "~^x$",
    "x" * 200,
]


def supervisor_reads(text: str) -> Any:
    """The options of a supervisord.conf with one program `x`, as supervisord itself reads them."""
    options = ServerOptions()
    options.configfile = io.StringIO(text)
    options.realize(args=[])
    return options


def command_of(value: str) -> list[str]:
    options = supervisor_reads(f"[supervisord]\n[program:x]\ncommand={value}\n")
    return shlex.split(options.process_group_configs[0].process_configs[0].command)


class TestTextproto:
    @given(st.text())
    @example('a"b\\c\nd\0é')
    def test_round_trip(self, text: str) -> None:
        written = templates.textproto(text)
        assert text_format.Parse(f"value: {written}", StringValue()).value == text
        assert written.isascii()
        assert written.isprintable()


class TestSupervisor:
    @pytest.mark.parametrize("word", ODD)
    def test_a_word_of_a_command(self, word: str) -> None:
        assert command_of(templates.shell(["run", word, "end"])) == ["run", word, "end"]

    @given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0\r\n", codec="utf-8")), max_size=3))
    def test_commands(self, words: list[str]) -> None:
        assert command_of(templates.shell(["run", *words])) == ["run", *words]

    @pytest.mark.parametrize(
        "text", ["/run/a b", "/run/50%", "/run/%(here)s", "/run/a;b", "/run/a#b", "/run/ü'\""]
    )
    def test_a_value(self, text: str) -> None:
        options = supervisor_reads(f"[supervisord]\nidentifier={templates.ini(text)}\n")
        assert options.identifier == text

    @pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "/run/a ;b", "/run/a #b", " a", "a "])
    def test_what_ini_cannot_hold_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="supervisord"):
            templates.ini(text)

    @pytest.mark.parametrize("word", ["a\nb", "a\rb", "a\0b"])
    def test_a_command_of_several_lines_is_refused(self, word: str) -> None:
        with pytest.raises(ValueError, match="supervisord"):
            templates.shell(["run", word])


class TestNginx:
    @pytest.fixture(scope="class")
    @staticmethod
    def answer(start_nginx: Callable[..., Any]) -> Callable[[str, bytes], bytes]:
        """What nginx answers at a path when it is sent a header X."""
        quoted = [text for text in ODD if "$" not in text]
        map_lines = "".join(
            f'"~^{templates.nginx_regex(text)}$" {index};\n' for index, text in enumerate(ODD) if text.strip()
        )
        locations = "".join(
            f"location = /{ODD.index(text)} {{ return 200 {templates.nginx(text)}; }}\n" for text in quoted
        )
        nginx = start_nginx(
            f"map $http_x $index {{ default none; {map_lines} }}\n"
            f"server {{ listen LISTEN; {locations} location = /index {{ return 200 $index; }} }}",
            {},
        )

        def ask(path: str, header: bytes = b"") -> bytes:
            connection = nginx.connect()
            connection.request("GET", path, headers={"X": header})
            return connection.getresponse().read()

        return ask

    @pytest.mark.parametrize("text", [text for text in ODD if "$" not in text])
    def test_a_parameter(self, answer: Callable[..., bytes], text: str) -> None:
        assert answer(f"/{ODD.index(text)}") == text.encode()

    @pytest.mark.parametrize("text", [text for text in ODD if text and text == text.strip()])
    def test_a_regular_expression(self, answer: Callable[..., bytes], text: str) -> None:
        assert answer("/index", text.encode()) == b"%d" % ODD.index(text)

    def test_a_regular_expression_matches_nothing_else(self, answer: Callable[..., bytes]) -> None:
        assert answer("/index", b"halfXplusXtwo") == b"none"

    @pytest.mark.parametrize("text", ["$host", "a\nb"])
    def test_what_nginx_would_expand_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="nginx"):
            templates.nginx(text)


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        templates.render("batching.conf")


def test_a_template_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str | None] = []
    original = jinja2.Environment.compile

    def note(self: jinja2.Environment, source: Any, name: str | None = None, *more: Any) -> Any:
        compiled.append(name)
        return original(self, source, name, *more)

    monkeypatch.setattr(jinja2.Environment, "compile", note)
    monkeypatch.setattr(CompiledTemplates, "load_bytecode", lambda self, bucket: None)
    templates._environment.cache_clear()

    assert templates.render("monitoring.conf") == templates.render("monitoring.conf")

    assert compiled == ["monitoring.conf"]
