"""A multi-model endpoint as the platform uses it (hosting contract, section 4): calls, layouts, code, errors."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from support.multi_model import MultiModelStack, make_wheel

HANDLER = """
import json, requests

def handler(data, context):
    answer = requests.post(context.rest_uri, data=data.read())
    return json.dumps({"model": context.model_name, "version": context.model_version,
                       "answer": answer.json()}), "application/json"
"""
SLOW_HANDLER = """
import json, time

def handler(data, context):
    time.sleep(json.loads(data.read())["seconds"])
    return "{}", "application/json"
"""
NPY = "application/x-npy"
ODD_NAMES = [
    "0123456789abcdef0123456789abcdef",
    "x" * 255,
    "größe 模型 🙂",
    "50% %41 %(here)s a+b",
    "a:predict",
    'it\'s "so"; # &?=',
    "default",
    "-.",
    "__proto__",
]


@pytest.fixture(scope="module")
def stack(quick_model_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MultiModelStack]:
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with MultiModelStack(tmp_path_factory.mktemp("stack"), environ) as running:
        yield running


@pytest.fixture(autouse=True)
def leaves_nothing(stack: MultiModelStack) -> Iterator[None]:
    """After each test, once its models are unloaded, all is as it was before."""
    before = stack.traces()
    yield
    for name in stack.names():
        assert stack.unload(name).status_code == 200
    assert stack.traces() == before


def test_the_life_of_a_model(stack: MultiModelStack, models: Path) -> None:
    url = stack.lay("life", models / "half_plus_two")
    assert stack.names() == []
    assert stack.get("m").status_code == 404

    done = stack.load("m", url)
    assert (done.status_code, done.json()) == (200, {"success": "Successfully loaded model m."})

    assert stack.ask("m", {"instances": [1.0, 2.0]}).json() == {"predictions": [3.5, 4.0]}
    assert requests.get(stack.url("/models"), timeout=10).json() == {
        "models": [{"modelName": "m", "modelUrl": url}]
    }
    assert stack.get("m").json() == {"modelName": "m", "modelUrl": url}
    again = stack.load("m", url)
    assert (again.status_code, "already" in again.json()["error"]) == (409, True)
    assert "model-m" in stack.ctl("status")

    assert stack.unload("m").json() == {"success": "Successfully unloaded model m."}

    for answer in (stack.ask("m"), stack.get("m"), stack.unload("m")):
        assert answer.status_code == 404
        assert "Model m is not loaded yet." in answer.json()["error"]
    assert stack.names() == []
    assert 'model="m"' not in requests.get(stack.url("/metrics"), timeout=10).text
    assert stack.ping().status_code == 200


@pytest.mark.parametrize("path", ["/ping", "/livez", "/readyz", "/startupz"])
def test_probes_need_no_model(stack: MultiModelStack, path: str) -> None:
    answer = requests.get(stack.url(path), timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")


def test_everything_that_a_single_model_endpoint_does(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("m", stack.lay("single", models / "half_plus_two"))
    attributes = "X_Amzn_SageMaker_Custom_Attributes"
    assert stack.ask("m", "1.0\n2.0\n", Content_Type="text/csv").json() == {"predictions": [3.5, 4.0]}
    assert stack.ask("m", "1.0\n", Content_Type="text/csv", Accept="text/csv").text == "3.5\n"
    assert stack.ask("m", **{attributes: "tfs-model-version=123"}).json() == {"predictions": [2.5]}
    assert stack.ask("m", **{attributes: "tfs-model-version=7"}).status_code == 404
    assert stack.ask("m", **{attributes: "tfs-method=nothing"}).status_code == 400
    stack.ask("m", X_Amzn_SageMaker_Target_Model="some/path.tar.gz")
    stack.wait_for(lambda: "target=some/path.tar.gz" in stack.log_text(), 10, "logged")
    assert requests.get(stack.invoke_url("m"), timeout=10).status_code == 405
    refused = stack.invoke('{"instances": [1.0]}')
    assert (refused.status_code, "/models/" in refused.json()["error"]) == (404, True)


def test_arrays_in_and_out(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("m", stack.lay("arrays", models / "half_plus_two"))
    for value in (1, 2):
        body = io.BytesIO()
        np.save(body, np.array([value], np.float32))
        answer = stack.ask("m", body.getvalue(), Content_Type=NPY, Accept=NPY)
        assert answer.status_code == 200, answer.text
        assert np.load(io.BytesIO(answer.content)).tolist() == [value / 2 + 3]


@pytest.mark.parametrize("name", ODD_NAMES, ids=str)
def test_names_are_opaque(stack: MultiModelStack, models: Path, name: str) -> None:
    code = HANDLER if ODD_NAMES.index(name) % 2 else None
    stack.loaded(name, stack.lay(f"odd{ODD_NAMES.index(name)}", models / "half_plus_two", code))

    answer = stack.ask(name).json()

    assert (answer["answer"] if code else answer) == {"predictions": [3.5]}
    if code:
        assert answer["model"] == name
    assert stack.get(name).json()["modelName"] == name
    assert stack.names() == [name]


def test_layouts_are_those_of_a_single_model(stack: MultiModelStack, models: Path) -> None:
    source = models / "half_plus_two"
    version = stack.models_dir / "root" / "model"
    version.parent.mkdir()
    version.symlink_to(source)  # version directories at the root
    with pytest.raises(AssertionError, match="not below"):
        stack.loaded("linked", str(version))
    version.unlink()
    version.mkdir()
    (version / "00000123").symlink_to(next(source.glob("*123")))
    nested = stack.models_dir / "nested" / "model" / "export" / "Servo"
    nested.mkdir(parents=True)
    (nested / "7").symlink_to(next(source.glob("*123")))
    (nested / "code").mkdir()
    (nested / "code" / "inference.py").write_text(HANDLER)

    stack.loaded("root", str(version))
    stack.loaded("nested", str(stack.models_dir / "nested" / "model"))

    assert stack.ask("root").json() == {"predictions": [2.5]}
    assert stack.ask("nested").json() == {"model": "nested", "version": "7", "answer": {"predictions": [2.5]}}


def test_bad_requests_say_what_is_wrong(stack: MultiModelStack, models: Path, tmp_path: Path) -> None:
    good = stack.lay("good", models / "half_plus_two")
    for name in ("", "x" * 256, "a/b", "..", "a\nb", "a\0", 7, None, ["a"]):
        assert stack.load(name, good).status_code == 400, name
    (stack.models_dir / "out").symlink_to(tmp_path)
    for url in ("relative", "/etc", str(stack.models_dir), f"{good}/../../../..", 3, None, "\0"):
        assert stack.load("m", url).status_code == 400, url
    assert "is not below" in stack.load("m", str(stack.models_dir / "out")).json()["error"]
    for path in ("/models", "/models/m", "/ping", "/metrics"):
        answer = requests.post(stack.url(path), data=b"x" * 100_000, timeout=10)
        assert (answer.status_code, "larger" in answer.json()["error"]) == (413, True), answer.text
    for body in ("", "{", "[]", '"x"', b"\xff", "[" * 20_000):
        assert requests.post(stack.url("/models"), data=body, timeout=10).status_code == 400
    assert requests.get(stack.url("/models?next_page_token=%00"), timeout=10).status_code == 400
    assert requests.put(stack.url("/models"), timeout=10).status_code == 405
    (stack.models_dir / "empty").mkdir()
    (stack.models_dir / "empty" / "net.h5").touch()
    (stack.models_dir / "nothing").mkdir()
    for place, status, part in (
        ("empty", 400, "net.h5 is a Keras file"),
        ("nothing", 404, "nothing lies at"),
        ("nowhere", 404, "nothing lies at"),
        ("x" * 5000, 400, "is not a path"),
    ):
        answer = stack.load("m", str(stack.models_dir / place))
        assert (answer.status_code, part in answer.json()["error"]) == (status, True), answer.text
    stack.lay("two", models / "half_plus_two")
    two = stack.lay("two/model/deeper", models / "half_plus_three").removesuffix("/deeper/model")
    assert "half_plus_three, half_plus_two" in stack.load("m", two).json()["error"]


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"inference_py": "import no_such_module_here"}, "No module named 'no_such_module_here'"),
        ({"inference_py": "x = 1"}, "defines no function"),
        ({"inference_py": HANDLER, "requirements_txt": "--no-index\nno-such==1"}, "no no-such==1"),
    ],
    ids=["import", "function", "requirements"],
)
def test_bad_code_is_a_bad_request(
    stack: MultiModelStack, models: Path, files: dict[str, str], part: str, request: pytest.FixtureRequest
) -> None:
    url = stack.lay(request.node.callspec.id, models / "half_plus_two", **files)

    answer = stack.load("m", url)

    assert (answer.status_code, part in answer.json()["error"]) == (400, True), answer.text


def test_a_model_that_does_not_load_is_a_bad_request(stack: MultiModelStack) -> None:
    broken = stack.models_dir / "broken" / "model" / "net" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"junk")

    answer = stack.load("m", str(broken.parents[1]))

    assert answer.status_code == 400
    assert "version 1: " in answer.json()["error"]


def test_two_versions_of_one_module_do_not_meet(stack: MultiModelStack, models: Path, tmp_path: Path) -> None:
    code = "import thing\ndef handler(data, context):\n    return thing.VALUE, 'text/plain'\n"
    for version in ("1", "2"):
        make_wheel(tmp_path, "thing", version, f"VALUE = 'wheel {version}'\n")
    wanted: dict[str, Any] = {}
    for version in ("1", "2"):
        text = f"--no-index\n--find-links {tmp_path}\nthing=={version}\n"
        stack.loaded(
            f"w{version}", stack.lay(f"w{version}", models / "half_plus_two", code, requirements_txt=text)
        )
        lib = f"VALUE = 'lib {version}'\n"
        stack.loaded(
            f"l{version}", stack.lay(f"l{version}", models / "half_plus_two", code, lib__thing_py=lib)
        )
        wanted |= {f"w{version}": f"wheel {version}", f"l{version}": f"lib {version}"}

    assert {name: stack.ask(name).text for name in wanted} == wanted
    written = [path for path in stack.models_dir.rglob("*") if path.suffix == ".pyc"]
    assert written == []


def test_two_loads_of_one_name_never_both_succeed(stack: MultiModelStack, models: Path) -> None:
    url = stack.lay("race", models / "half_plus_two")
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(lambda _: stack.load("m", url), range(4)))
    assert statuses == [200, 409, 409, 409]


def test_a_slow_load_delays_nobody(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("quick", stack.lay("quick", models / "half_plus_two"))
    slow = stack.start_load(
        "slow", stack.lay("slow", models / "half_plus_two", "import time\ntime.sleep(600)\n")
    )
    try:
        for number in range(3):
            assert stack.ping().status_code == 200
            assert stack.ask("quick").status_code == 200
            stack.loaded(f"other{number}", stack.lay(f"other{number}", models / "half_plus_two"))
            assert stack.unload(f"other{number}").status_code == 200
        assert stack.get("slow").status_code == 404
        assert stack.names() == ["quick"]
    finally:
        slow.close()
    stack.wait_for(lambda: "Model slow is not loaded: the client closed" in stack.log_text(), 30, "given up")
    stack.wait_for(lambda: stack.trace_of("slow") == set(), 30, "cleaned up")


def test_a_request_in_flight_is_finished_before_the_model_goes(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("m", stack.lay("in_flight", models / "half_plus_two", SLOW_HANDLER))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(stack.ask("m", {"seconds": 4})))
    thread.start()

    def in_flight() -> bool:
        return (
            'tfsd_requests_in_flight{model="m",route="worker"} 1.0'
            in requests.get(stack.url("/metrics"), timeout=10).text
        )

    stack.wait_for(in_flight, 20, "in flight")

    assert stack.unload("m").status_code == 200

    thread.join(0.5)  # the answer came before the unload's
    assert [answer.status_code for answer in answers] == [200]
    thread.join()


def test_twenty_models_loaded_four_at_a_time(stack: MultiModelStack, models: Path) -> None:
    stack.loaded("first", stack.lay("first", models / "half_plus_two"))
    stack.loaded("coded", stack.lay("coded", models / "half_plus_two", HANDLER))
    urls = {f"m{number:02}": stack.lay(f"m{number:02}", models / "half_plus_two") for number in range(20)}
    loading = True
    statuses: list[int] = []

    def invoke() -> None:
        session = requests.Session()
        headers = {"Content-Type": "application/json"}
        while loading:
            for name in ("first", "coded", *list(urls)[: len(statuses) % 20]):
                if name in done:
                    answer = session.post(
                        stack.invoke_url(name), data='{"instances": [1.0]}', headers=headers, timeout=60
                    )
                    statuses.append(answer.status_code)

    def load(name: str) -> int:
        status = stack.load(name, urls[name]).status_code
        done.add(name)
        return status

    done = {"first", "coded"}
    clients = [threading.Thread(target=invoke) for _ in range(2)]
    for client in clients:
        client.start()
    with ThreadPoolExecutor(4) as pool:
        loads = list(pool.map(load, urls))
    time.sleep(0.5)
    loading = False
    for client in clients:
        client.join()

    assert loads == [200] * 20
    assert set(statuses) == {200}
    assert len(statuses) > 50
    assert stack.names() == ["coded", "first", *urls]
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status_code for answer in pool.map(stack.unload, urls)} == {200}


def test_shapes_of_errors_are_json(stack: MultiModelStack) -> None:
    for path in (
        "/models/x",
        "/models/x/invoke",
        "/models/%ff/invoke",
        "/models/x/y",
        "/models//",
        "/modelsX",
    ):
        answer = requests.post(stack.url(path), data="{}", timeout=10)
        assert answer.status_code in (404, 405), path
        assert json.loads(answer.text)["error"], path
