"""requirements.lock agrees with constraints.txt and setup.py, which it is generated from."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tfsd.local.lock import BASE, CONSTRAINTS, EXTRAS, INSTALLER, LOCK, blocks, locked
from tfsd.local.set_up import NEEDED_EXTRAS

AGAIN = "run `./bin/local exec python -m tfsd.local.lock`"


def pins(text: str) -> dict[str, str]:
    """The versions of the pins in a requirements file, by the names as the package index writes them."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_the_lock_has_the_pins_of_the_constraints() -> None:
    assert pins(LOCK.read_text()) == pins(CONSTRAINTS.read_text()), AGAIN


@pytest.mark.parametrize("extra", [BASE, *EXTRAS])
def test_what_an_extra_requires_is_locked_for_it(extra: str) -> None:
    mine = pins(locked(LOCK.read_text(), [extra]))
    for line in requires("tfsd") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            assert canonicalize_name(requirement.name) in mine, AGAIN


def test_every_file_is_locked_by_its_sha256() -> None:
    for _, requirement in blocks(LOCK.read_text()):
        pin, *hashes = requirement.split(" \\\n")
        assert hashes, pin
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", line) for line in hashes), pin


def test_all_that_is_installed_is_locked() -> None:
    assert {extra for extras in NEEDED_EXTRAS.values() for extra in extras} <= set(EXTRAS)
    assert pins(locked(LOCK.read_text(), [INSTALLER])).keys() == {"pip"}


def test_no_package_index_is_named() -> None:
    assert "://" not in LOCK.read_text()
