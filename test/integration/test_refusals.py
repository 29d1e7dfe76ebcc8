"""What cannot be served ends the start: status 1 after one clear line, with no process left."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.stack import RunningStack
from tfsd.stack import nginx

PARTS = {
    "a saved model": "half_plus_two/123/saved_model.pb",
    "a saved model without a version": "half_plus_two/saved_model.pb",
}
HANDLER = "def handler(data, context): pass\n"


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """`lay(path=text, …)`: a model directory with these files."""

    def lay(files: dict[str, str]) -> Path:
        directory = tmp_path / "model"
        directory.mkdir()
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
        return directory

    return lay


def one_line(stack: RunningStack) -> str:
    """The one line of a stack that must refuse to start."""
    status, lines = stack.refusal()
    printed = [line for line in lines if " serve INFO " not in line]
    assert (status, len(printed)) == (1, 1), lines
    assert printed[0].startswith("serve: ")
    assert not stack.processes()
    return printed[0]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no SavedModel in .*/model, which is empty; .*<name>/<version>/saved_model.pb"),
        ({"a/notes.txt": "", "b.bin": ""}, "no SavedModel in .*, which has a, b.bin; "),
        ({"half_plus_two/saved_model.pb": ""}, "no version directory: 'half_plus_two' of .* saved_model.pb"),
        ({"saved_model.pb": ""}, "no version directory: "),
        ({"v1/saved_model.pb": ""}, "no version directory: 'v1' "),
        ({"my.h5": ""}, "my.h5 is a Keras file; export it with model.export"),
        ({"deep/down/my.keras": ""}, "my.keras is a Keras file; export it with model.export"),
        (
            {"m/1/saved_model.pb": "", "m/00001/saved_model.pb": ""},
            "directories '00001' and '1' of .*/m both mean version 1",
        ),
        (
            {"a/m/1/saved_model.pb": "", "b/m/2/saved_model.pb": ""},
            "two directories hold a model 'm': .*a/m and .*b/m",
        ),
    ],
)
def test_model_directories(
    lay: Callable[..., Path], tmp_path: Path, files: dict[str, str], told: str
) -> None:
    assert re.search(told, one_line(RunningStack(tmp_path / "stack", lay(files))))


def test_missing_model_directory(tmp_path: Path) -> None:
    line = one_line(RunningStack(tmp_path / "stack", tmp_path / "nowhere"))
    assert re.search("no SavedModel: .* does not exist; ", line)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "import no_such_module_at_all\n",
            "inference.py does not import: ModuleNotFoundError: .*no_such_module_at_all",
        ),
        ("def handler(:\n", "inference.py does not import: SyntaxError"),
        ("raise SystemExit(0)\n", "inference.py does not import: SystemExit"),
        ("def handle(data, context): pass\n", "no function that could be used; define `handler"),
        ("", "no function that could be used; define `handler"),
        ("def input_handler(data, context): pass\n", "`input_handler` without `output_handler`"),
        ("def output_handler(data, context): pass\n", "`output_handler` without `input_handler`"),
        ("handler = 7\n", "`handler` is not a function"),
        (
            HANDLER + "def input_fn(data, content_type): pass\n",
            "`handler` and `input_fn`, which are two ways",
        ),
    ],
)
def test_scripts(lay: Callable[..., Path], tmp_path: Path, script: str, told: str) -> None:
    model_dir = lay({PARTS["a saved model"]: "", "code/inference.py": script})
    status, lines = RunningStack(tmp_path / "stack", model_dir).refusal()
    said = [line for line in lines if line.startswith("serve: ")]
    assert (status, len(said)) == (1, 1), lines
    assert re.search(told, said[0])
    if "does not import" in told:
        assert any(" INFO inference.py: " in line for line in lines), (
            lines
        )  # the traceback, from the script on


def test_bad_variables_are_listed_all_together(lay: Callable[..., Path], tmp_path: Path) -> None:
    variables = {
        "SAGEMAKER_BIND_TO_PORT": "http",
        "SAGEMAKER_SAFE_PORT_RANGE": "9000",
        "SAGEMAKER_MULTI_MODEL": "yes",
        "SAGEMAKER_TFS_INSTANCE_COUNT": "0",
        "SAGEMAKER_TFS_NGINX_LOGLEVEL": "loud",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "-1",
    }
    stack = RunningStack(tmp_path / "stack", lay({PARTS["a saved model"]: ""}), variables)
    status, lines = stack.refusal()
    assert status == 1
    assert len(lines) == len(variables)
    for name, value in variables.items():
        assert any(line.startswith(f"serve: {name}={value!r} must be ") for line in lines), lines


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"SAGEMAKER_TFS_BINARY": "/no/such/binary"},
            "SAGEMAKER_TFS_BINARY=/no/such/binary cannot be executed",
        ),
        (
            {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "nope"},
            "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=nope is not one of the models: half_plus_two",
        ),
        (
            {"SAGEMAKER_PROGRAM": "other.py"},
            "SAGEMAKER_PROGRAM=other.py is not in .*/code, which has inference.py",
        ),
        (
            {"SAGEMAKER_SUBMIT_DIRECTORY": "/no/such"},
            "SAGEMAKER_SUBMIT_DIRECTORY=/no/such is neither a directory",
        ),
        ({"SAGEMAKER_REQUIREMENTS": "my.txt"}, "SAGEMAKER_REQUIREMENTS=my.txt is not in .*/code"),
        (
            {"SAGEMAKER_SAFE_PORT_RANGE": "40000-40002", "SAGEMAKER_TFS_INSTANCE_COUNT": "2"},
            "need 4 ports, .*SAGEMAKER_SAFE_PORT_RANGE=40000-40002 has 3, ",
        ),
    ],
)
def test_variables_that_do_not_fit_the_model(
    lay: Callable[..., Path], tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    model_dir = lay({PARTS["a saved model"]: "", "code/inference.py": HANDLER})
    assert re.search(told, one_line(RunningStack(tmp_path / "stack", model_dir, variables)))


def test_an_nginx_that_does_not_take_its_configuration(lay: Callable[..., Path], tmp_path: Path) -> None:
    """Nothing would answer, and supervisord would start it again and again."""
    found = nginx.find()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/nginx"
    program.write_text(
        f"#!/bin/sh\n[ $1 = -V ] && exec {found.binary} -V\nexec {found.binary} -g 'no_such_module on;' \"$@\"\n"
    )
    program.chmod(0o755)
    stack = RunningStack(tmp_path / "stack", lay({PARTS["a saved model"]: ""}))
    stack.environ["PATH"] = f"{tmp_path}/bin:{stack.environ['PATH']}"
    told = one_line(stack)
    assert f"{program} does not take the configuration {stack.run_dir}/nginx.conf: " in told
    assert 'unknown directive "no_such_module"' in told


def test_port_in_use(lay: Callable[..., Path], tmp_path: Path) -> None:
    stack = RunningStack(tmp_path / "stack", lay({PARTS["a saved model"]: ""}))
    with socket.create_server(("0.0.0.0", stack.port)):
        assert (
            f"port {stack.port} is in use; choose another with --port or SAGEMAKER_BIND_TO_PORT"
            in one_line(stack)
        )


def test_second_stack_in_the_same_run_directory(plain_stack: RunningStack, tmp_path: Path) -> None:
    second = RunningStack(tmp_path / "stack", tmp_path)
    second.run_dir = plain_stack.run_dir
    assert f"a stack is running in {plain_stack.run_dir} already" in one_line(second)
    assert plain_stack.invoke('{"instances": [1.0]}').json() == {"predictions": [3.5]}
