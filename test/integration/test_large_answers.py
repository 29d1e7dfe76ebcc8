"""Large answers of a real model server, where Nagle's algorithm is on, come over new connections."""

from __future__ import annotations

import sys
from pathlib import Path

from integration.conftest import StartStack
from support import large_answer_server
from support.code import add_model


def test_connections_are_kept_until_answers_are_large(
    models: Path, start_stack: StartStack, tmp_path: Path
) -> None:
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {large_answer_server.__file__} "$@"\n')
    binary.chmod(0o755)
    add_model(tmp_path / "models", "m", models / "half_plus_two")
    stack = start_stack(tmp_path / "models", SAGEMAKER_TFS_BINARY=str(binary))

    first = stack.invoke('{"instances": [1.0]}')

    assert first.json()["closing"] is False
    stack.wait_for(lambda: stack.invoke('{"instances": [1.0]}').json()["closing"], 60, "on new connections")
    assert "route=direct model=m" in stack.log_text()
