"""The worker process: `python -m tfsd.worker --run-dir RUN --pool POOL --worker PROGRAM`, or `--check`.

Patches the standard library for gevent before anything imports ssl; `main` does the rest.
"""

import sys

from tfsd.cooperative import patch_all

patch_all()

from tfsd.worker.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
