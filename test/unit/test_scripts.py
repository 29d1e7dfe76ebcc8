"""The scripts in bin/ that build, publish, start and stop images: what they would run, by --dry-run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tfsd.settings import Settings

ROOT = Path(__file__).parents[2]
NAME = "sagemaker-tensorflow-serving"
HANDED_ON = ("PIP_", "SAGEMAKER_", "AWS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def script(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script with none of the variables that scripts hand on, but `environ`."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(HANDED_ON)}
    command = [str(ROOT / "bin" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=kept | environ)


def dry_run(name: str, *arguments: str, **environ: str) -> list[str]:
    """The commands that a script would run, without the checkout's directory in them."""
    done = script(name, "--dry-run", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(f"{ROOT}/", "").replace(str(ROOT), ".").splitlines()


def refusal(name: str, *arguments: str, **environ: str) -> str:
    done = script(name, *arguments, **environ)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_cpu_image_takes_the_model_server_of_the_official_image() -> None:
    assert dry_run("build.sh", "--version", "2.19", "--arch", "cpu") == [
        f"docker build --file docker/Dockerfile.cpu --tag {NAME}:2.19.0-cpu --target serving "
        "--build-arg EMBEDDED=no --build-arg TFS_IMAGE=tensorflow/serving:2.19.0 ."
    ]


def test_gpu_image_is_built_upon_the_server_image() -> None:
    assert dry_run("build.sh", "-v", "1.13", "-a", "gpu") == [
        f"docker build --file docker/Dockerfile.cpu --tag {NAME}:server --target server .",
        f"docker build --file docker/Dockerfile.gpu --tag {NAME}:1.13.1-gpu "
        f"--build-arg SERVER_IMAGE={NAME}:server --build-arg TFS_IMAGE=tensorflow/serving:1.13.1-gpu .",
    ]


def test_elastic_inference_image_takes_a_binary_that_one_brings() -> None:
    commands = dry_run("build.sh", "-v", "1.14", "-a", "eia", "--binary", "file.example/tfs")
    assert commands[1] == (
        f"docker build --file docker/Dockerfile.eia --tag {NAME}-eia:1.14.0-cpu "
        f"--build-arg SERVER_IMAGE={NAME}:server --build-arg MODEL_SERVER_URL=file.example/tfs ."
    )
    assert "withdrawn Elastic Inference" in refusal("build.sh", "-n", "-v", "1.14", "-a", "eia")
    assert "no TensorFlow Serving 2.0.0" in refusal(
        "build.sh", "-n", "-v", "2.0", "-a", "eia", "--binary", "x"
    )


def test_embedded_image_needs_no_official_image() -> None:
    assert dry_run("build.sh", "--version=embedded") == [
        f"docker build --file docker/Dockerfile.cpu --tag {NAME}:embedded-cpu --target embedded ."
    ]
    assert "runs on CPUs" in refusal("build.sh", "-n", "-v", "embedded", "-a", "gpu")


def test_build_hands_on_what_the_network_needs(tmp_path: Path) -> None:
    bundle = tmp_path / "proxy.pem"
    bundle.write_text("a certificate")
    options = ["-v", "embedded", "-b", "base", "--ca-bundle", str(bundle), "--", "--network", "host"]
    environ = {"PIP_INDEX_URL": "secret", "https_proxy": "proxy"}
    assert dry_run("build.sh", *options, **environ) == [
        f"cp {bundle} docker/ca/build.crt",
        f"docker build --file docker/Dockerfile.cpu --tag {NAME}:embedded-cpu --target embedded "
        "--build-arg PIP_INDEX_URL --build-arg https_proxy --build-arg BASE_IMAGE=base --network host .",
    ]


def test_newest_version_is_the_default() -> None:
    assert dry_run("stop.sh") == ["docker stop -t 30 tfsd-2.20.0-cpu"]


def test_a_beginning_is_no_part_of_a_number() -> None:
    assert "there is no version 1.1;" in refusal("stop.sh", "-n", "-v", "1.1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version", "9.9"], "there is no version 9.9; there are 1.4.1 1.5.0"),
        (["--version"], "--version needs a value"),
        (["--arch", "tpu"], "there is no architecture tpu; there are cpu, gpu and eia"),
        (["--colour"], "there is no option --colour; see --help"),
        (["--version", "1.7"], "no official image of TensorFlow Serving 1.7.0 for cpu"),
    ],
)
def test_build_refuses_with_what_is_wrong(arguments: list[str], said: str) -> None:
    assert said in refusal("build.sh", "--dry-run", *arguments)


def test_publish_makes_the_repository_and_pushes() -> None:
    registry = "ACCOUNT.dkr.ecr.us-west-2.amazonaws.com"
    assert dry_run("publish.sh", "-v", "1.14", "-a", "eia", "--region", "us-west-2") == [
        "aws sts get-caller-identity --query Account --output text",
        "aws ecr get-login-password --region us-west-2 "
        f"| docker login --username AWS --password-stdin {registry}",
        f"aws ecr describe-repositories --region us-west-2 --repository-names {NAME}-eia "
        f"|| aws ecr create-repository --region us-west-2 --repository-name {NAME}-eia",
        f"docker tag {NAME}-eia:1.14.0-cpu {registry}/{NAME}-eia:1.14.0-cpu",
        f"docker push {registry}/{NAME}-eia:1.14.0-cpu",
    ]


def test_publish_to_a_repository_of_another_name() -> None:
    commands = dry_run("publish.sh", "-v", "2.20", "-r", "cn-north-1", "--repository", "mine")
    assert commands[-1] == "docker push ACCOUNT.dkr.ecr.cn-north-1.amazonaws.com.cn/mine:2.20.0-cpu"


def test_start_serves_a_directory_read_only(tmp_path: Path) -> None:
    model = tmp_path / "a model"
    model.mkdir()
    options = ["-v", "2.20", "-a", "gpu", "--model", str(model), "--port", "9000"]
    assert dry_run("start.sh", *options, SAGEMAKER_BIND_TO_PORT="8081", SAGEMAKER_BATCH="true") == [
        "docker run --detach --rm --name tfsd-2.20.0-gpu --stop-timeout 30 --publish 127.0.0.1:9000:8081 "
        f"--volume {tmp_path}/a\\ model:/opt/ml/model:ro --gpus all "
        f"--env SAGEMAKER_BATCH --env SAGEMAKER_BIND_TO_PORT {NAME}:2.20.0-gpu serve"
    ]
    assert "there is no directory /nowhere" in refusal("start.sh", "-n", "-m", "/nowhere")


def test_curl_shows_requests() -> None:
    assert dry_run("curl.sh", "--port", "9000", "json") == [
        "curl --silent --show-error --header Content-Type:\\ application/json "
        '--data-binary \\{\\"instances\\":\\ \\[1.0\\,\\ 2.0\\,\\ 5.0\\]\\} http://localhost:9000/invocations'
    ]
    assert "there is no example xml" in refusal("curl.sh", "-n", "xml")


@pytest.mark.parametrize("name", ["build.sh", "publish.sh", "start.sh", "stop.sh", "curl.sh"])
def test_help_shows_the_usage(name: str) -> None:
    done = script(name, "--help")
    assert done.returncode == 0
    assert f"usage: bin/{name}" in done.stdout
    assert "--dry-run" in done.stdout


@pytest.mark.parametrize(
    ("version", "arch", "region", "uri"),
    [
        ("1.12", "gpu", "us-west-2", "520713654638.dkr.ecr.us-west-2.amazonaws.com/{}:1.12.0-gpu"),
        ("1.4.1", "cpu", "ap-east-1", "057415533634.dkr.ecr.ap-east-1.amazonaws.com/{}:1.4.1-cpu"),
        ("1.13.1", "eia", "me-south-1", "724002660598.dkr.ecr.me-south-1.amazonaws.com/{}-eia:1.13.1-cpu"),
    ],
)
def test_uri_of_an_older_image(version: str, arch: str, region: str, uri: str) -> None:
    done = script("image-uri", "--version", version, "--arch", arch, "--region", region)
    assert done.stdout.strip() == uri.format(NAME)


@pytest.mark.parametrize(
    ("version", "arch", "region", "uri"),
    [
        ("1.13", "cpu", "eu-west-1", "763104351884.dkr.ecr.eu-west-1.amazonaws.com/{}:1.13.1-cpu"),
        ("2.0.0", "gpu", "ap-east-1", "871362719292.dkr.ecr.ap-east-1.amazonaws.com/{}:2.0.0-gpu"),
        ("1.14", "eia", "me-south-1", "217643126080.dkr.ecr.me-south-1.amazonaws.com/{}-eia:1.14.0-cpu"),
        ("1.15", "cpu", "us-iso-east-1", "886529160074.dkr.ecr.us-iso-east-1.c2s.ic.gov/{}:1.15.0-cpu"),
    ],
)
def test_uri_of_a_newer_image(version: str, arch: str, region: str, uri: str) -> None:
    done = script("image-uri", "-v", version, "-a", arch, "-r", region)
    assert done.stdout.strip() == uri.format("tensorflow-inference")


@pytest.mark.parametrize(
    ("version", "arch", "region", "said"),
    [
        (
            "1.12",
            "cpu",
            "us-iso-east-1",
            "no registry for 1.12.0 in us-iso-east-1; there is one in ap-east-1",
        ),
        ("2.20", "cpu", "cn-north-1", "no registry for 2.20.0 in cn-north-1"),
        ("1.15", "eia", "us-west-2", "no Elastic Inference image of TensorFlow Serving 1.15"),
        ("3.0", "gpu", "us-west-2", "no image of TensorFlow Serving 3.0"),
    ],
)
def test_an_image_that_the_tables_lack(version: str, arch: str, region: str, said: str) -> None:
    assert said in refusal("image-uri", "-v", version, "-a", arch, "-r", region)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck")
def test_shell_scripts_are_clean() -> None:
    scripts = [*ROOT.glob("bin/*.sh"), *ROOT.glob("docker/*.sh"), ROOT / ".ci" / "run"]
    done = subprocess.run(["shellcheck", "-x", *scripts], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == ""


def test_compose_leaves_as_much_time_to_stop_as_it_tells_the_endpoint() -> None:
    text = (ROOT / "docker" / "docker-compose.yml").read_text()
    default = f"{Settings.from_environ({}).stop_time:g}"
    seconds = f"${{SAGEMAKER_TFS_STOP_SECONDS:-{default}}}"
    assert f"\n    stop_grace_period: {seconds}s\n" in text
    assert f"\n      SAGEMAKER_TFS_STOP_SECONDS: {seconds}\n" in text
