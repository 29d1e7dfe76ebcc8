"""What the program says of arguments that cannot be."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

pytest.importorskip("boto3")

from tfsd.sagemaker.main import _exports, _show, main


@pytest.mark.parametrize("port", ["0", "65536", "-1", "https"])
def test_a_port_is_one_that_can_be_listened_on(
    tmp_path: Path, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path / "data"), f"--port={port}"])
    assert ended.value.code == 2
    assert "argument --port" in capsys.readouterr().err


def test_a_place_for_data_that_cannot_be_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfsd.logs.setup", lambda *_: None)
    (tmp_path / "file").touch()
    assert main(["--data", str(tmp_path / "file" / "data")]) == 1
    assert capsys.readouterr().err == (
        f"bin/local sagemaker: {tmp_path}/file/data cannot be used: Not a directory; give another --data.\n"
    )


def test_the_exports_can_be_pasted_whatever_the_directory_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "my models' data"
    directory.mkdir()
    _show(_exports(4566, "us-west-2"), directory)
    word, *settings = shlex.split(capsys.readouterr().out.split("\n\n")[0])
    assert word == "export"
    assert f"SAGEMAKER_USER_CONFIG_OVERRIDE={directory}/sagemaker-config.yaml" in settings
