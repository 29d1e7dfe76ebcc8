"""What the documentation says of the code, held against the code; `bin/local docs` checks its links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONTROL = ROOT / "daemon" / "tfsd" / "control"


def test_every_metric_of_ours_is_described() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text()
    source = "".join(path.read_text() for path in CONTROL.rglob("*.py"))
    families = set(re.findall(r'"(tfsd_[a-z_]+)"', source))
    assert len(families) > 10
    assert {name for name in families if f"`{name}" not in page} == set()


def test_every_alert_is_in_the_runbook() -> None:
    page = (DOCS / "runbook" / "alerts.md").read_text()
    alerts = re.findall(r"alert: (\w+)", (ROOT / "deploy" / "monitoring" / "rules.yml").read_text())
    assert alerts
    assert [name for name in alerts if f"`{name}`" not in page] == []


def test_the_help_of_bin_local_is_the_one_that_it_prints() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text()
    printed = subprocess.run(
        [sys.executable, ROOT / "bin" / "local", "--help"], capture_output=True, text=True
    ).stdout
    assert f"```text\n{printed}```" in page


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_links_between_pages_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert {page for page in pages if f": {page}\n" not in navigation} == set()
