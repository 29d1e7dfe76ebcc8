"""The systemd unit that docs/how-to/deployment.md shows."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deployment.md"


def unit_text() -> str:
    """The unit as it stands on the page."""
    [found] = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def service() -> configparser.SectionProxy:
    """The directives of its section Service."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(unit_text())
    return parser["Service"]
