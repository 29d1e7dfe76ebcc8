"""Which lines of tfsd run, in all processes of a test run: each statement notes its line in memory that they share.

    python -m support.lines prepare DIRECTORY    compile tfsd so that it notes its lines, which from then on is run by
                                                 each Python of this environment that has TFSD_LINES=DIRECTORY
    python -m support.lines collect DIRECTORY    DIRECTORY/coverage, a data file of coverage's, of what has run

coverage reports and judges it, but its tracer is not used: with it the tests take almost four times the CPU, since
Python 3.11 is slow in all that it runs while it is traced, pytest included, and with greenlets the more. Here a line
costs a store, a process that is killed loses nothing, and there is nothing to save at an end, or to combine.
"""

from __future__ import annotations

import ast
import marshal
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import TypeVar

from support import lines_at_start
from support.lines_at_start import MEMORY, NOTES, PACKAGE

SOURCES = Path(__file__).parents[2] / "daemon"
AT_START = f"""
if {lines_at_start.DIRECTORY!r} in os.environ:
    with open({lines_at_start.__file__!r}) as file:
        exec(file.read(), {{"__name__": "at_start"}})
"""  # what each process of this environment does first

Statement = TypeVar("Statement", bound=ast.AST)


class _Noting(ast.NodeTransformer):
    """Has each statement note its line first: `__lines__[NUMBER] = 1`, `base` being the number of line 0."""

    def __init__(self, base: int) -> None:
        self._base = base

    def generic_visit(self, node: Statement) -> Statement:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, self._block(node, name, block))
        for name in ("handlers", "cases"):
            for child in getattr(node, name, ()):
                self.generic_visit(child)
        return node

    def _block(self, node: ast.AST, name: str, block: list[ast.stmt]) -> list[ast.stmt]:
        noting: list[ast.stmt] = []
        if isinstance(node, (ast.ExceptHandler, ast.match_case)):
            noting.append(self._note(node if isinstance(node, ast.ExceptHandler) else node.pattern))
        for place, statement in enumerate(block):
            first = place == 0 and name == "body"
            if _is_future(statement):
                noting += [statement, self._note(statement)]
                continue
            if not (first and _is_docstring(node, statement)):
                noting += [
                    self._note(each) for each in (statement, *getattr(statement, "decorator_list", ()))
                ]
            noting.append(self.generic_visit(statement))
        return noting

    def _note(self, node: ast.stmt | ast.expr | ast.ExceptHandler | ast.pattern) -> ast.stmt:
        number = ast.Constant(self._base + node.lineno)
        place = ast.Subscript(ast.Name(NOTES, ast.Load()), number, ast.Store())
        note = ast.Assign([place], ast.Constant(1))
        for each in ast.walk(note):
            ast.copy_location(each, node)
        return note


def _is_docstring(node: ast.AST, statement: ast.stmt) -> bool:
    return (
        isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def noting_code(source: str, path: str, base: int) -> CodeType:
    """A module's code that notes line N as `__lines__[base + N] = 1`."""
    tree = _Noting(base).generic_visit(ast.parse(source, path))
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def _modules() -> Iterator[tuple[Path, str, int, int]]:
    """Path, source, the number of line 0, and how many numbers it has."""
    base = 0
    for path in sorted((SOURCES / PACKAGE).rglob("*.py")):
        source = path.read_text()
        count = source.count("\n") + 2
        yield path, source, base, count
        base += count


def prepare(directory: Path) -> None:
    """Compile all modules, and have this environment's processes find them."""
    directory.mkdir(parents=True, exist_ok=True)
    numbers = 0
    for path, source, base, count in _modules():
        code = noting_code(source, str(path), base)
        Path(lines_at_start.compiled(str(directory), str(path))).write_bytes(marshal.dumps(code))
        numbers += count
    (directory / MEMORY).write_bytes(bytes(numbers))
    # of a .pth file Python executes the lines that begin with `import`
    Path(sysconfig.get_path("purelib"), "tfsd_lines.pth").write_text(f"import os, sys; exec({AT_START!r})\n")


def collect(directory: Path) -> None:
    """Write what has run to coverage's data file."""
    from coverage import CoverageData

    memory = (directory / MEMORY).read_bytes()
    data = CoverageData(str(directory / "coverage"))
    data.add_lines(
        {str(path): [n for n in range(count) if memory[base + n]] for path, _, base, count in _modules()}
    )
    data.write()


if __name__ == "__main__":
    {"prepare": prepare, "collect": collect}[sys.argv[1]](Path(sys.argv[2]).absolute())
