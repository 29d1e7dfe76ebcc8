"""The control process: `python -m tfsd.control --run-dir RUN`. `main` does the rest."""

import sys

from tfsd.lasting_imports import LastingImports

with LastingImports():
    from tfsd.control.main import main

if __name__ == "__main__":
    sys.exit(main())
