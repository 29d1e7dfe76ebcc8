"""Code that notes its lines notes those that coverage's tracer sees."""

from __future__ import annotations

import textwrap
from pathlib import Path

import coverage
import pytest

from support.lines import noting_code
from support.lines_at_start import NOTES

SOURCES = {
    "a module": '''
        """Says what it is."""

        from __future__ import annotations

        import functools
        from os import (
            path,
            sep,
        )

        NUMBERS: dict[str, int] = {
            "one": 1,
            "two": 2,
        }
        later: int


        class Thing:
            """A thing."""

            kept = [
                each
                for each in range(3)
            ]

            @property
            @functools.cache
            def name(
                self,
            ) -> str:
                """Its name."""
                return (
                    "thing"
                )

            def never(self) -> None:
                raise ValueError


        Thing().name
    ''',
    "branches": """
        def sort(number):
            if number < 0:
                return "negative"
            elif number == 0:
                return "none"
            else:
                if number > 10:
                    found = "many"
                elif number > 5:
                    found = "some"
                return found

        def kind(value):
            match value:
                case int():
                    return "number"
                case [first, *_] if first:
                    return "list"
                case _:
                    return "other"

        sort(0), sort(11), kind(1), kind([1])
    """,
    "loops and failures": """
        import contextlib

        def work(rounds):
            global done
            for number in range(rounds):
                while True:
                    number += 1
                    if number > 3:
                        break
                else:
                    number = 0
            else:
                done = True
            try:
                with contextlib.suppress(KeyError), contextlib.nullcontext() as nothing:
                    {}["a"]
                int("x")
                number = 7
            except ValueError as error:
                number = str(error)
            finally:
                number = 0
            try:
                pass
            except OSError:
                pass
            else:
                number = 1
            return lambda: number

        work(2)()
        work(0) if False else None
    """,
    "what goes on later": """
        import asyncio

        def count():
            yield 1
            yield 2

        async def wait():
            async with asyncio.Lock():
                await asyncio.sleep(0)
            return [each async for each in other()]

        async def other():
            yield 1
            return

        next(count())
        asyncio.run(wait())
    """,
}


@pytest.mark.parametrize("name", list(SOURCES))
def test_noted_lines_are_those_that_a_tracer_sees(name: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    source = textwrap.dedent(SOURCES[name]).lstrip()
    path.write_text(source)
    base, lines = 5, bytearray(200)
    exec(noting_code(source, str(path), base), {"__name__": "noting", NOTES: lines})
    noted = coverage.CoverageData(no_disk=True)
    noted.add_lines({str(path): [number - base for number, set_ in enumerate(lines) if set_]})
    assert _executed(path, noted) == _executed(path, _traced(source, path))


def _traced(source: str, path: Path) -> coverage.CoverageData:
    """What coverage's own tracer sees, which another one may be running besides."""
    tracer = coverage.Coverage(data_file=None, config_file=False, include=[str(path)])
    tracer.start()
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), {"__name__": "traced"})
    finally:
        tracer.stop()
    return tracer.get_data()


def _executed(path: Path, data: coverage.CoverageData) -> set[int]:
    """The statements that ran, as a report counts them."""
    report = coverage.Coverage(data_file=None, config_file=False)
    report.get_data().update(data)
    _, statements, _, missing, _ = report.analysis2(str(path))
    return set(statements) - set(missing)
