"""`python -m tfsd.sagemaker`: the server of local SageMaker; the verb `sagemaker` of bin/local."""

from tfsd.cooperative import patch_all

patch_all()

import sys  # noqa: E402

from tfsd.sagemaker.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
