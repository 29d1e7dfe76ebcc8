"""Op libraries: packages are imported, and what is wrong with one is said by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfsd.model_server.errors import Code, ServingError
from tfsd.model_server.runtime import op_libraries


def failure(library: str) -> ServingError:
    with pytest.raises(ServingError) as caught:
        op_libraries.load([library])
    assert library in caught.value.message
    return caught.value


def test_a_package_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_ops_of_ours.py").write_text("registered = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    op_libraries.load(["some_ops_of_ours"])

    assert sys.modules.pop("some_ops_of_ours").registered


def test_a_package_may_use_what_the_server_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "ops_with_layers.py").write_text(
        "import h5py\nimport tensorflow as tf\nassert tf.keras.layers.Layer\n"
    )
    program = (  # Keras itself uses some packages where they are, which takes longer than all else
        "import sys; sys.modules['sklearn'] = sys.modules['matplotlib'] = None; "
        "from tfsd.model_server.__main__ import load_server_module; load_server_module(); "
        "assert not {'keras.src', 'h5py', 'tensorflow._api', 'grpc'} & sys.modules.keys(); "
        "from tfsd.model_server.runtime import op_libraries; op_libraries.load(['ops_with_layers'])"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_ops_of_ours.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert failure("no_such_ops_here").code is Code.NOT_FOUND
    assert "ZeroDivisionError: division by zero" in failure("broken_ops_of_ours").message


def test_a_file_that_is_missing_or_no_library(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")

    assert failure("/no/such/file").code is Code.NOT_FOUND
    assert "cannot be loaded" in failure(str(tmp_path / "text.so")).message
