"""`python -m tfsd.sagemaker`: the server of local SageMaker; the verb `sagemaker` of bin/local."""

import gc

from tfsd.cooperative import patch_all

gc.disable()  # an import makes objects that stay: looking for garbage is a tenth of its CPU time
patch_all()

import sys  # noqa: E402

from tfsd.sagemaker.main import main  # noqa: E402

gc.freeze()  # no later collection, the last one included, looks at them again
gc.enable()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
