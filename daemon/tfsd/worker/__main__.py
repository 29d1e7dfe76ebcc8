"""The worker process: `python -m tfsd.worker --run-dir RUN --pool POOL --worker PROGRAM`, or `--check`.

Patches the standard library for gevent before anything imports ssl; `main`, or `check`, does the rest. User code is
imported later, with the collector on.
"""

import importlib
import sys

from tfsd.lasting_imports import LastingImports

with LastingImports():
    from tfsd.cooperative import patch_all

    patch_all()

    if "--check" in sys.argv:
        from tfsd.worker import check
    else:
        from tfsd.worker import main


def run() -> int:
    """Check a script, or serve; returns the exit status."""
    if "--check" in sys.argv:
        return check.main(lambda: importlib.import_module("tfsd.worker.main"))
    return main.main()


if __name__ == "__main__":
    sys.exit(run())
