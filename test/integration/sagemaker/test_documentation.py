"""The code of the interface's documentation runs as it stands there, with only its placeholders filled in.

test/resources/sagemaker/deploying.md is that documentation. It has slips of its own, which are mended here by name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.local_sagemaker import ROLE, LocalSageMaker

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits"
DOCUMENTATION = ROOT / "test" / "resources" / "sagemaker" / "deploying.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INPUT, OUTPUT = "my-sagemaker-input-bucket", "my-sagemaker-output-bucket"
SECONDS = 300

#: The SDK asks every 30 seconds how far an endpoint is. Here nobody counts its requests.
IMPATIENT = "import time; sleep = time.sleep; time.sleep = lambda seconds: sleep(min(seconds, 0.5))"


def blocks(language: str) -> list[str]:
    """The documentation's code in one language: create a model, transform, create an endpoint."""
    found = [code for kind, code in BLOCK.findall(DOCUMENTATION.read_text()) if kind == language]
    assert len(found) == 3
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the reader of the documentation works: with an archive and an image."""
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for name in ("digits", "code"):
            tar.add(DIGITS / name, name)
    shutil.copy(DIGITS / "sample.png", tmp_path / "myfile.jpeg")
    return tmp_path


@pytest.fixture
def buckets(sagemaker: LocalSageMaker) -> None:
    """The documentation's buckets are there already; the input of the transform is an image."""
    for name in ("my-sagemaker-bucket", "am-datasets", INPUT, OUTPUT):
        sagemaker.make_bucket(name)
    sagemaker.client("s3").put_object(
        Bucket=INPUT, Key="sagemaker-transform-input-data/a.png", Body=(DIGITS / "sample.png").read_bytes()
    )


def transformed(sagemaker: LocalSageMaker) -> int:
    """The digit in the transform's output, which is removed."""
    s3 = sagemaker.client("s3")
    where = {"Bucket": OUTPUT, "Key": "sagemaker-transform-output-data/a.png.out"}
    document = json.loads(s3.get_object(**where)["Body"].read())
    s3.delete_object(**where)
    digit: int = document["digit"]
    return digit


def impatient_waiters(programs: Path, directory: Path) -> Path:
    """What AWS_DATA_PATH is for: `aws sagemaker wait` asks once a second, not once or twice a minute."""
    [data] = programs.parent.glob("lib/python*/site-packages/botocore/data")
    [waiters] = data.glob("sagemaker/*/waiters-2.json")
    document = json.loads(waiters.read_text())
    for waiter in document["waiters"].values():
        waiter["delay"], waiter["maxAttempts"] = 1, waiter["delay"] * waiter["maxAttempts"]
    changed = directory / "waiters" / waiters.relative_to(data)
    changed.parent.mkdir(parents=True)
    changed.write_text(json.dumps(document))
    return directory / "waiters"


def run(sagemaker: LocalSageMaker, programs: Path, directory: Path, *command: str) -> str:
    environ = {
        **sagemaker.environ,
        **sagemaker.exports(),
        "AWS_DATA_PATH": str(impatient_waiters(programs, directory)),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{sagemaker.log_text()[-4000:]}"
    return done.stdout


def test_the_command_line_blocks(
    sagemaker: LocalSageMaker, client_programs: Path, directory: Path, buckets: None
) -> None:
    model, transform, endpoint = blocks("bash")
    script = [
        "set -euo pipefail",
        model.replace("[SageMaker-compatible IAM Role ARN]", ROLE),
        transform.replace("$JOB_NAME", "$TRANSFORM_JOB_NAME"),  # it is never set
        "aws sagemaker wait transform-job-completed-or-stopped --transform-job-name $TRANSFORM_JOB_NAME",
        endpoint,
    ]
    run(sagemaker, client_programs, directory, "bash", "-c", "\n".join(script))
    assert json.loads((directory / "response.json").read_text())["digit"] == 7
    assert transformed(sagemaker) == 7


def test_the_sdk_blocks(
    sagemaker: LocalSageMaker, client_programs: Path, directory: Path, buckets: None
) -> None:
    model, transform, endpoint = blocks("python")
    no_such_parameter = "framework_version = '1.12',\n"
    assert no_such_parameter in transform
    script = [
        IMPATIENT,
        model,
        transform.replace(no_such_parameter, ""),  # transformer() has none
        "tensorflow_serving_transformer.wait()",
        "data = open('myfile.jpeg', 'rb').read()",
        # an image, which the predictor does not send by default
        endpoint.replace(
            "prediction =",
            "from sagemaker.serializers import IdentitySerializer\n"
            "predictor.serializer = IdentitySerializer('application/x-image')\n"
            "prediction =",
        ),
        "print('digit', prediction['digit'])",
        "predictor.delete_model()\npredictor.delete_endpoint()",
    ]
    said = run(sagemaker, client_programs, directory, "python", "-c", "\n".join(script))
    assert said.splitlines()[-1].endswith("digit 7")  # after the SDK's dashes
    assert transformed(sagemaker) == 7


def test_the_ten_lines_of_our_own_page(
    sagemaker: LocalSageMaker, client_programs: Path, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "reference" / "local-sagemaker.md").read_text()
    [flow] = [code for kind, code in BLOCK.findall(page) if "create-endpoint-config" in code]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run(sagemaker, client_programs, tmp_path, "bash", "-euc", flow)
    assert json.loads((tmp_path / "answer.json").read_text())["digit"] == 7
