"""What the verb refuses before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsd.tuner.__main__ import main


def test_a_report_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        main([str(tmp_path / "no-model"), "--output", str(tmp_path / "file")])
