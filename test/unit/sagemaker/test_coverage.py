"""The documentation's table has every operation, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tfsd.sagemaker import actions

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "local-sagemaker.md"


def test_the_table_of_operations_is_complete() -> None:
    table = PAGE.read_text().partition("## Operations")[2].partition("\n- **")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {actions.module_name(name) for row in rows for name in re.findall(r"`(\w+)`", row)}
    files = {path.stem for path in Path(actions.__file__).parent.glob("[a-z]*.py")}
    assert documented == files
