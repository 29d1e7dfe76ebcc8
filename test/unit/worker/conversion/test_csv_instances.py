"""CSV in general: any table written by Python's csv module is read back as it was."""

import csv
import io
import json
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfsd.worker.conversion import csv_instances, csv_rows

Cell = str | int | float
Table = list[list[Cell]]

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False))
# Every character that CSV, JSON or Python's own idea of a line might stumble on, and any other.
TEXTS = st.one_of(
    st.text(alphabet='",\r\n\\ \t\x00\x0b\x0c\x1c\x85\u2028a0.eén', max_size=8),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["1", "NaN", "inf", "", " 1", "null", '"', '""', "],["]),
)


def reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tables(cells: st.SearchStrategy[Cell]) -> st.SearchStrategy[Table]:
    return st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6)
    )


def written(table: Table, quoting: Literal[0, 1, 2, 3], line_end: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=line_end).writerows(table)
    return text.getvalue().encode()


def read(text: bytes, header: bool = False) -> object:
    return json.loads(csv_instances.to_instances(text, header))["instances"]


def expected(table: Table) -> object:
    return [row[0] for row in table] if len(table[0]) == 1 else table


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(tables(st.one_of(NUMBERS, TEXTS)), LINE_ENDS)
def test_text_is_quoted(table: Table, line_end: str) -> None:
    assert read(written(table, csv.QUOTE_NONNUMERIC, line_end)) == expected(table)


@given(tables(TEXTS), LINE_ENDS)
def test_everything_is_quoted(table: Table, line_end: str) -> None:
    assert read(written(table, csv.QUOTE_ALL, line_end)) == expected(table)


UNQUOTED = TEXTS.filter(lambda text: not reads_as_number(text))
PRESENT = UNQUOTED.filter(lambda text: text.strip(" \t") != "")


def breaks_line(table: Table) -> bool:
    return any(end in str(cell) for row in table for cell in row for end in "\r\n")


@given(st.one_of(tables(UNQUOTED), tables(st.one_of(NUMBERS, PRESENT))), LINE_ENDS)
def test_only_what_must_be_is_quoted(table: Table, line_end: str) -> None:
    # The writer of Python 3.11 quotes a CR or LF only if its own line end has it.
    assume(line_end == "\r\n" or not breaks_line(table))
    assert read(written(table, csv.QUOTE_MINIMAL, line_end)) == expected(table)


@given(tables(NUMBERS), LINE_ENDS)
def test_numbers_only(table: Table, line_end: str) -> None:
    assert read(written(table, csv.QUOTE_MINIMAL, line_end)) == expected(table)


@given(tables(st.one_of(NUMBERS, TEXTS)), LINE_ENDS)
def test_named_columns(table: Table, line_end: str) -> None:
    names = [f"c,{i}" for i in range(len(table[0]))]
    text = written([list(names), *table], csv.QUOTE_NONNUMERIC, line_end)
    assert read(text, header=True) == [dict(zip(names, row, strict=True)) for row in table]


NUMERIC_LOOKING = st.text(alphabet="0123456789.-+eE,,,\n\n\r \t", max_size=30)


@settings(max_examples=500)
@given(NUMERIC_LOOKING)
def test_the_quick_way_for_numbers_says_the_same_as_the_long_one(text: str) -> None:
    quick = csv_instances._numbers(text.encode())
    if quick is not None:
        instances = list(csv_instances._instances(text, header=False))
        assert json.loads(quick) == json.loads(f'{{"instances":[{",".join(instances)}]}}')


@pytest.mark.parametrize("text", ["1,2\n3,4", "5\n6\n", "1.50,-2e5\r\n3,4\r\n\r\n5,6", "0.1, 2\n3,\t4"])
def test_plain_numbers_do_take_the_quick_way(text: str) -> None:
    assert csv_instances._numbers(text.encode()) is not None


@given(NUMBERS, st.sampled_from(["{}", "+{}", " {} ", "00{}", "\t{}"]))
def test_spellings_of_a_number(number: float, spelling: str) -> None:
    text = spelling.format(repr(number))
    assume(reads_as_number(text))
    assert read(f"{text},x".encode()) == [[number, "x"]]


class CountingText(str):
    """Text that counts how many characters are taken from it."""

    taken = 0

    def __getitem__(self, key: object) -> str:
        part = super().__getitem__(key)  # type: ignore[index]
        self.taken += len(part)
        return part


@pytest.mark.parametrize("row", ["1,a,b\n", '1,"a","b"\r\n', '"a\nb",1\n', "a\r", '""\n', '"",\n'])
def test_rows_are_read_in_one_pass(row: str) -> None:
    text = CountingText(row * 2000)
    assert len(list(csv_rows.rows(text))) == 2000
    assert text.taken <= 2 * len(text)


def test_a_long_quoted_field_is_one_field() -> None:
    value = 'a "quoted"\r\n' * 100_000
    assert read(written([[value, 1]], csv.QUOTE_MINIMAL, "\n")) == [[value, 1]]
