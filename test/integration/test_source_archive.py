"""User code from S3 (moto's server): SAGEMAKER_SUBMIT_DIRECTORY as an archive, there or on disk, for either style of
code; and the code of all models of a multi-model endpoint."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from support.code import add_model
from support.models import built_models
from support.multi_model import MultiModelStack
from support.stack import RunningStack

LEGACY = """
import json
from helper import shout

def input_fn(serialized_input, content_type):
    return json.loads(serialized_input)

def output_fn(prediction_result, accepts):
    return shout(prediction_result.outputs["y"].float_val)
"""
HELPER = "def shout(values):\n    return 'Y ' + ' '.join(map(str, values))\n"
UNIVERSAL = """
from voices import low

def handler(data, context):
    return low.say(context.model_name), 'text/plain'
"""
HANDLER = "def handler(data, context):\n    return 'handled by ' + context.model_name, 'text/plain'\n"


def archive(**files: str) -> bytes:
    """A .tar.gz of Python files by their names without `.py`."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"./{name}.py")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return written.getvalue()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment of a client of an S3 with objects in `bucket`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client: Any = boto3.session.Session("key", "secret", region_name="eu-central-1").client(
        "s3", endpoint_url=f"http://{host}:{port}"
    )
    client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    objects = {
        "job 1/sourcedir.tar.gz": archive(my_script=LEGACY, helper=HELPER),
        "both.tar.gz": archive(inference=LEGACY + HANDLER, helper=HELPER),
        "other.tar.gz": archive(other=HANDLER),
        "for all/v1/inference.py": UNIVERSAL.encode(),
        "for all/v1/lib/voices/low.py": b"def say(name): return 'low ' + name",
        "for all/v10/inference.py": b"not of this prefix",
    }
    for key, content in objects.items():
        client.put_object(Bucket="bucket", Key=key, Body=content)
    yield {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    server.stop()


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A model with code beside it that the archive takes the place of."""
    directory = tmp_path / "model"
    add_model(directory, "scale", built_models("legacy") / "scale")
    (directory / "code").mkdir()
    (directory / "code" / "inference.py").write_text("this is not Python")
    return directory


def test_a_script_from_s3(start_stack: Any, s3: dict[str, str], model_dir: Path) -> None:
    location = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/job 1/sourcedir.tar.gz"}
    stack = start_stack(model_dir, SAGEMAKER_PROGRAM="my_script.py", **location, **s3)
    answer = stack.invoke(json.dumps([1, 2, 3, 4]), Accept="text/plain")
    assert (answer.text, answer.headers["Content-Type"]) == ("Y 3.0 6.0 9.0 12.0", "text/plain")


def test_a_handler_from_a_local_archive(start_stack: Any, model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "code.tar.gz"
    path.write_bytes(archive(inference=HANDLER))
    stack = start_stack(model_dir, SAGEMAKER_SUBMIT_DIRECTORY=str(path), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert stack.invoke("{}").text == "handled by scale"


@pytest.mark.parametrize(
    ("key", "environ", "said"),
    [
        ("none.tar.gz", {}, ["s3://bucket/none.tar.gz cannot be downloaded", "404"]),
        ("other.tar.gz", {}, ["s3://bucket/other.tar.gz has no inference.py"]),
        ("other.tar.gz", {"SAGEMAKER_PROGRAM": "mine.py"}, ["SAGEMAKER_PROGRAM=mine.py", "other.py"]),
        ("both.tar.gz", {}, ["`handler`", "`input_fn` and `output_fn`", "keep one of them"]),
        (
            "other.tar.gz",
            {"SAGEMAKER_PROGRAM": "other.py", "SAGEMAKER_REQUIREMENTS": "reqs.txt"},
            ["SAGEMAKER_REQUIREMENTS=reqs.txt is not in"],
        ),
    ],
)
def test_what_is_refused_at_the_start(
    s3: dict[str, str], model_dir: Path, tmp_path: Path, key: str, environ: dict[str, str], said: list[str]
) -> None:
    environ = {"SAGEMAKER_SUBMIT_DIRECTORY": f"s3://bucket/{key}", **environ, **s3}
    status, lines = RunningStack(tmp_path / "stack", model_dir, environ).refusal()
    assert status == 1
    assert all(text in lines[-1] for text in said), lines


def test_code_for_all(
    s3: dict[str, str], quick_model_server: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environ = {
        "SAGEMAKER_TFS_BINARY": str(quick_model_server),
        "SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET": "bucket",
        "SAGEMAKER_MULTI_MODEL_UNIVERSAL_PREFIX": "for all/v1",
    }
    with MultiModelStack(tmp_path_factory.mktemp("stack"), {**environ, **s3}) as stack:
        stack.loaded("a", stack.lay("a", models / "half_plus_two"))
        stack.loaded("b", stack.lay("b", models / "half_plus_two", code=HANDLER))
        assert stack.ask("a").text == "low a"
        assert stack.ask("b").text == "handled by b"
