"""The worker process: `python -m tfsd.worker --run-dir RUN --pool POOL --worker PROGRAM`, or `--check`.

Patches the standard library for gevent before anything imports ssl; `main` does the rest. User code is imported later,
with the collector on.
"""

import sys

from tfsd.lasting_imports import LastingImports

with LastingImports():
    from tfsd.cooperative import patch_all

    patch_all()

    from tfsd.worker.main import main

if __name__ == "__main__":
    sys.exit(main())
