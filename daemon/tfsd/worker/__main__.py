"""The worker process: `python -m tfsd.worker --run-dir RUN --pool POOL --worker PROGRAM`, or `--check`.

Patches the standard library for gevent before anything imports ssl; `main` does the rest.
"""

import gc
import sys

from tfsd.cooperative import patch_all

gc.disable()  # an import makes objects that stay: looking for garbage is a tenth of its CPU time
patch_all()

from tfsd.worker.main import main  # noqa: E402

gc.freeze()  # no later collection, the last one included, looks at them again; user code has its own
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
