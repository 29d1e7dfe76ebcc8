"""`python -m tfsd.sagemaker`: the server of local SageMaker; the verb `sagemaker` of bin/local."""

import sys

from tfsd.lasting_imports import LastingImports

with LastingImports():
    from tfsd.cooperative import patch_all

    patch_all()

    from tfsd.sagemaker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
