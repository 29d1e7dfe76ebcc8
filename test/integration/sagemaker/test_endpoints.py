"""Endpoints over real stacks: an update under load, a killed stack, a restart, a stream, more clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from integration.conftest import linked
from support.endpoint_load import Load
from support.local_sagemaker import LocalSageMaker, variant, wait_for

SECONDS = 180
STREAMING = """
import time


def handler(data, context):
    def pieces():
        for number in range(3):
            yield f"piece {number}"
            time.sleep(0.3)

    return pieces(), "text/plain"
"""


def predictions(sagemaker: LocalSageMaker, name: str) -> list[float]:
    answer = sagemaker.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=b'{"instances": [2.0]}', ContentType="application/json"
    )
    found: list[float] = json.loads(answer["Body"].read())["predictions"]
    return found


@pytest.fixture(scope="module")
def made_models(
    sagemaker: LocalSageMaker,
    two_and_three: tuple[Path, Path],
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In S3 and as models: two (2.0 → 3.0), three (2.0 → 4.0), streaming (user code)."""
    for name, directory in zip(("two", "three"), two_and_three, strict=True):
        sagemaker.create_model(name, directory)
    streaming = linked(tmp_path_factory.mktemp("streaming"), models, "half_plus_two")
    (streaming / "code").mkdir()
    (streaming / "code" / "inference.py").write_text(STREAMING)
    sagemaker.create_model("streaming", streaming)


def test_updates_restarts_and_killed_stacks(sagemaker: LocalSageMaker, made_models: None) -> None:
    sagemaker.serve("e", variant("two"))
    client = sagemaker.client("sagemaker")
    assert predictions(sagemaker, "e") == [3.0]
    client.create_endpoint_config(
        EndpointConfigName="e2", ProductionVariants=[variant("three", InstanceType="ml.g5.xlarge")]
    )
    with Load(sagemaker, "e") as load:
        wait_for(lambda: 3.0 in load.answers, "an answer before the update")
        client.update_endpoint(EndpointName="e", EndpointConfigName="e2")
        client.get_waiter("endpoint_in_service").wait(EndpointName="e")
        seen = len(load.answers)
        wait_for(lambda: len(load.answers) > seen + 5, "answers after the update")
    assert not load.failures, load.failures[:3]
    assert set(load.answers) == {3.0, 4.0}
    assert load.answers[-1] == 4.0

    [stack] = [pid for pid, words in sagemaker.processes().items() if "tfsd.stack.supervisord" in words]
    os.kill(stack, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{stack}").exists(), "the end of the stack")

    def answers_again() -> bool:
        try:
            return predictions(sagemaker, "e") == [4.0]
        except client.exceptions.ClientError:
            return False
        except Exception as error:
            return "ServiceUnavailable" not in str(error) and "ModelError" not in str(error)

    wait_for(answers_again, "an answer of the stack's replacement")

    sagemaker.kill()
    sagemaker.start()
    client.get_waiter("endpoint_in_service").wait(EndpointName="e")
    assert predictions(sagemaker, "e") == [4.0]
    assert len([words for words in sagemaker.processes().values() if "tfsd.stack.supervisord" in words]) == 1
    sagemaker.delete_endpoint("e")
    assert not [words for words in sagemaker.processes().values() if "tfsd" in words]


def test_an_isolated_model_installs_nothing(
    sagemaker: LocalSageMaker, models: Path, made_models: None, tmp_path: Path
) -> None:
    directory = linked(tmp_path, models, "half_plus_two")
    (directory / "code").mkdir()
    (directory / "code" / "inference.py").write_text(STREAMING)
    (directory / "code" / "requirements.txt").write_text("a-package-that-is-nowhere==1.0\n")
    sagemaker.create_model("isolated", directory, isolated=True)
    with pytest.raises(botocore.exceptions.WaiterError):
        sagemaker.serve("isolated", variant("isolated"))
    described = sagemaker.client("sagemaker").describe_endpoint(EndpointName="isolated")
    assert "a-package-that-is-nowhere" in described["FailureReason"]
    log = sagemaker.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/isolated")[
        "events"
    ]
    assert not any("index" in event["message"] and "http" in event["message"] for event in log), log
    sagemaker.delete_endpoint("isolated")


def test_a_stream_arrives_piece_by_piece(sagemaker: LocalSageMaker, made_models: None) -> None:
    sagemaker.serve("streaming", variant("streaming"))
    answer = sagemaker.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName="streaming", Body=b"x", ContentType="text/plain"
    )
    assert answer["InvokedProductionVariant"] == "streaming"
    assert answer["ContentType"].startswith("text/plain")
    arrived = [(time.monotonic(), event["PayloadPart"]["Bytes"]) for event in answer["Body"]]
    assert [piece for _, piece in arrived] == [b"piece 0", b"piece 1", b"piece 2"]
    assert arrived[2][0] - arrived[0][0] > 0.3  # the handler sleeps twice as long between them
    sagemaker.delete_endpoint("streaming")


def test_a_script_mode_model_as_the_older_sdk_makes_it(
    sagemaker: LocalSageMaker, models: Path, tmp_path: Path
) -> None:
    """SDK v1 of the Python-based endpoints: the script is an archive of its own in S3, named by the environment."""
    import tarfile

    script = tmp_path / "entry.py"
    script.write_text('def output_fn(prediction_result, accepts):\n    return \'{"from": "entry.py"}\'\n')
    (tmp_path / "requirements.txt").write_text("")
    with tarfile.open(tmp_path / "sourcedir.tar.gz", "w:gz") as tar:
        tar.add(script, "entry.py")
        tar.add(tmp_path / "requirements.txt", "requirements.txt")
    sagemaker.make_bucket("models")
    sagemaker.client("s3").upload_file(
        str(tmp_path / "sourcedir.tar.gz"), "models", "model_name/sourcedir.tar.gz"
    )
    servo = tmp_path / "export"
    servo.mkdir()
    (servo / "Servo").symlink_to(models / "half_plus_two")
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "export").symlink_to(servo)
    environment: dict[str, Any] = {
        "SAGEMAKER_PROGRAM": "entry.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "s3://models/model_name/sourcedir.tar.gz",
        "SAGEMAKER_REQUIREMENTS": "requirements.txt",
        "SAGEMAKER_REGION": "us-west-2",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        "SAGEMAKER_ENABLE_CLOUDWATCH_METRICS": "false",
    }
    sagemaker.create_model("model-name", directory, **environment)
    sagemaker.serve("script-mode", variant("model-name"))
    answer = sagemaker.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="script-mode", Body=b"[1.0]", ContentType="application/json", Accept="application/json"
    )
    assert json.loads(answer["Body"].read()) == {"from": "entry.py"}
    sagemaker.delete_endpoint("script-mode")


CORE = """
import sys
from sagemaker_core.resources import Endpoint, EndpointConfig
from sagemaker_core.shapes import ProductionVariant

EndpointConfig.create(
    endpoint_config_name="core",
    production_variants=[
        ProductionVariant(
            variant_name="v", model_name="two", initial_instance_count=1, instance_type="ml.c5.xlarge"
        )
    ],
)
endpoint = Endpoint.create(endpoint_name="core", endpoint_config_name="core")
endpoint.wait_for_status("InService")
answer = endpoint.invoke(body='{"instances": [2.0]}', content_type="application/json")
print(answer.body.read().decode(), file=sys.stderr)
endpoint.delete()
endpoint.wait_for_delete()
"""


def test_the_core_sdk_resources(sagemaker: LocalSageMaker, made_models: None, client_programs: Path) -> None:
    done = subprocess.run(
        [client_programs / "python", "-c", CORE],
        env={**sagemaker.environ, **sagemaker.exports()},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "3.0" in done.stderr
