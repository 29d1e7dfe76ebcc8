"""TensorFlow's package is there at once, and whole when somebody asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

KERAS = "import sys; sys.modules['keras'] = None; "  # which the package would import, half of its time
IMPORTED = "import tfsd.model_server; from tfsd.model_server.runtime import tf; "


@pytest.mark.parametrize(
    "code",
    [
        IMPORTED + "assert 'tensorflow._api' not in sys.modules; assert tf.as_dtype(1) is tf.float32",
        IMPORTED + "from tensorflow import errors; assert errors.OpError is tf.errors.OpError; "
        "import tensorflow; assert tensorflow.float32 is tf.float32; tensorflow.constant(1)",
        IMPORTED + "import tensorflow; assert not hasattr(tensorflow, '__no_such_name__')",
        IMPORTED + "import tensorflow; assert not hasattr(tensorflow, 'no_such_name')",
        "import tensorflow as whole, tfsd.model_server, tensorflow; assert tensorflow is whole; whole.constant(1)",
    ],
)
def test_the_package_is_run_when_it_is_needed(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERAS + code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
