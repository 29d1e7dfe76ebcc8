"""The control process: `python -m tfsd.control --run-dir RUN`. `main` does the rest."""

import gc
import sys

gc.disable()  # an import makes objects that stay: looking for garbage is a tenth of its CPU time

from tfsd.control.main import main  # noqa: E402

gc.freeze()  # no later collection, the last one included, looks at them again
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
