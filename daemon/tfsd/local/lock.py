"""requirements.lock: the pins of constraints.txt with the sha256 of every file of theirs, and which extras need them.

`python -m tfsd.local.lock` writes it with `uv`; set_up installs from it. Standard library only.

A block stands for a pin: a comment that names the extras (`base` is what tfsd itself needs), then the requirement as
pip reads it. Blocks are separated by empty lines.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CONSTRAINTS = ROOT / "constraints.txt"
LOCK = ROOT / "requirements.lock"
BASE = "base"
OLDEST_PYTHON = "3.11.2"  # Debian 12's
INSTALLER = "pip"  # installed before anything else
UV = "uv"  # installed next, where it can be
EXTRAS = ("embedded", "nginx", "test", "sagemaker-local", "tune", "docs")  # those that bin/local installs
# Dependencies of these are left out: tensorflow-serving-api's are a second TensorFlow, kserve's a server and an older
# protobuf, of which a test reads only the tables.
WITHOUT_DEPENDENCIES = {
    INSTALLER: ["pip"],
    UV: ["uv"],
    BASE: ["setuptools", "tensorflow-serving-api"],
    "test": ["kserve"],
}
HEADING = "# Generated from constraints.txt and setup.py by `python -m tfsd.local.lock`; CONTRIBUTING.md says when.\n"
FOR = "# for "


def locked(lock: str, extras: Collection[str]) -> str:
    """The requirements of these extras, for `pip install --require-hashes --no-deps --requirement`."""
    return "".join(
        f"{requirement}\n" for needed_by, requirement in blocks(lock) if not needed_by.isdisjoint(extras)
    )


def blocks(lock: str) -> Iterator[tuple[set[str], str]]:
    """Each pin of a lock: the extras that need it, and the requirement with its hashes."""
    for block in lock.removeprefix(HEADING).strip().split("\n\n"):
        comment, requirement = block.split("\n", 1)
        yield set(comment.removeprefix(FOR).split()), requirement


def generate() -> str:
    """Ask the package index, through uv. Raises OSError, subprocess.CalledProcessError."""
    compiled = [(BASE, compile_pins("setup.py"))]
    compiled += [(extra, compile_pins("setup.py", "--extra", extra)) for extra in EXTRAS]
    compiled += [
        (section, compile_pins("-", "--no-deps", requirements="\n".join(names)))
        for section, names in WITHOUT_DEPENDENCIES.items()
    ]
    needed_by: dict[str, list[str]] = {}
    for section, pins in compiled:
        for pin in pins:
            sections = needed_by.setdefault(pin, [])
            if section not in sections:
                sections.append(section)
    return HEADING + "".join(
        f"\n{FOR}{' '.join(sections)}\n{pin}\n" for pin, sections in sorted(needed_by.items())
    )


def compile_pins(*arguments: str, requirements: str = "") -> list[str]:
    """The pins of some requirements and of all that these need, on any machine and Python, with their hashes."""
    command = ["uv", "pip", "compile", "--quiet", "--constraints", str(CONSTRAINTS)]
    command += [
        "--universal",
        "--python-version",
        OLDEST_PYTHON,
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
    ]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, input=requirements, stdout=subprocess.PIPE, text=True, check=True
    )
    return re.split(r"\n(?! )", done.stdout.rstrip())


if __name__ == "__main__":
    try:
        LOCK.write_text(generate())
    except FileNotFoundError:
        sys.exit("uv is missing: start it as `./bin/local exec python -m tfsd.local.lock`.")
    except subprocess.CalledProcessError:
        sys.exit("uv fails; it says why above.")
