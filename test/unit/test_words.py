from __future__ import annotations

import pytest

from tfsd.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines")], ids=["none", "one", "two"]
)
def test_a_noun_goes_with_its_number(number: int, text: str) -> None:
    assert counted(number, "line") == text
