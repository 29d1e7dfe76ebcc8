"""`pytest -n`: each test runs once, with its file's others, and what goes wrong with a fork is no quiet success."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
FILE = """
import os, warnings
from pathlib import Path

import pytest

pytestmark = [pytest.mark.together("first")] if __file__.endswith(("test_0.py", "test_1.py")) else []
RAN = Path(os.environ["RAN"])


@pytest.fixture(scope="session", autouse=True)
def of_the_session():
    yield
    if os.environ["CASE"] == "fixture":
        raise ValueError("the fixture's end")


@pytest.fixture(scope="module", autouse=True)
def of_the_module():
    yield
    (RAN / f"{Path(__file__).stem} {os.getpid()}").touch(exist_ok=False)


class TestClass:
    @pytest.mark.parametrize("number", range(3))
    def test_good(self, number, tmp_path):
        assert str(tmp_path).count("fork-") == 1


def test_other(capfd):
    print("captured")
    assert capfd.readouterr().out == "captured\\n"
    warnings.warn("look here")
    if os.environ["CASE"] == "fails" and __file__.endswith("test_2.py"):
        print("what it said")
        raise AssertionError("as it should")
    if os.environ["CASE"] == "dies" and __file__.endswith("test_2.py"):
        os._exit(7)
"""


@pytest.mark.parametrize(
    ("case", "status", "counts", "told"),
    [
        ("", 0, "16 passed, 4 warnings", "(UserWarning) look here"),
        ("fails", 1, "1 failed, 15 passed, 4 warnings", "what it said"),
        ("dies", 3, "15 passed, 3 warnings", "A process of the tests ended with status 7"),
        ("fixture", 3, "16 passed, 4 warnings", "ValueError: the fixture's end"),
    ],
    ids=["good", "fails", "dies", "fixture"],
)
def test_tests_in_forks(tmp_path: Path, case: str, status: int, counts: str, told: str) -> None:
    for number in range(4):
        (tmp_path / f"test_{number}.py").write_text(FILE)
    (tmp_path / "ran").mkdir()
    environ = {**os.environ, "CASE": case, "RAN": str(tmp_path / "ran"), "PYTHONPATH": str(HERE)}
    plugins = ("-p", "no:xdist", "-p", "support.forks", "-p", "no:cloudcoil", "-p", "no:schemathesis")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-n", "2", tmp_path],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert counts in done.stdout
    assert told in done.stdout
    ran = dict(path.name.split() for path in (tmp_path / "ran").iterdir())
    assert len(ran) == (3 if case == "dies" else 4)
    assert len(set(ran.values())) <= 2
    assert ran["test_0"] == ran["test_1"]
    assert not re.search("captured$", done.stdout, re.MULTILINE)
