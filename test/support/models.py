"""The models of test/resources/*/make_models.py, built once per machine and version of the script."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RESOURCES = Path(__file__).parents[1] / "resources"


def built_models(of: str = "model_server") -> Path:
    """The directory that holds the models of a directory of resources. Several test runs at once build them once."""
    script = RESOURCES / of / "make_models.py"
    digest = hashlib.sha256(script.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"tfsd-test-models-{os.getuid()}-{digest}"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _build(script, directory)
    return directory


def _build(script: Path, directory: Path) -> None:
    """Build elsewhere and rename: the directory is there only when it is complete."""
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / "models"
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, script, built], check=True, env=environment, capture_output=True)
        config = built / "models.config"
        if config.exists():
            config.write_text(config.read_text().replace(str(built), str(directory)))
        partial = directory.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.move(built, partial)
        partial.rename(directory)
