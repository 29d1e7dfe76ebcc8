"""Local SageMaker: AWS's API in front of real stacks, without an account and without Docker.

`python -m tfsd.sagemaker` is the server. A stack is a child process, spoken to over HTTP as the platform would.
"""
