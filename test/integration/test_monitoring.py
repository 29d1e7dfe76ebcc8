"""deploy/monitoring with a real Prometheus on a real stack: rules, alerts, and every query of the dashboard."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from integration.conftest import StartStack
from support.code import add_model
from support.stack import RunningStack
from tfsd.stack.ports import allocate

KIT = Path(__file__).parents[2] / "deploy" / "monitoring"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
PATIENCE_SECONDS = 120  # of a machine under load
LINTED_AWAY = "tensorflow_core_graph_run_time_usecs_histogram"  # TensorFlow's own name, which we keep
HANDLER = """
def handler(data, context):
    raise OSError("it never works")
"""

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here")


@pytest.fixture(scope="module")
def stack(models: Path, start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """A model that batches, and one whose code always fails."""
    directory = tmp_path_factory.mktemp("models")
    add_model(directory, "half_plus_two", models / "half_plus_two")
    add_model(directory, "broken", models / "half_plus_three", HANDLER)
    return start_stack(
        directory,
        SAGEMAKER_TFS_ENABLE_BATCHING="true",
        SAGEMAKER_TFS_ALLOWED_BATCH_SIZES="4,8",
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
    )


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=10)
        assert answer.ok, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def alerts(self) -> set[tuple[str, str]]:
        """(name, state) of all alerts that are pending or firing."""
        answer = requests.get(f"{self._url}/api/v1/alerts", timeout=10).json()
        return {(alert["labels"]["alertname"], alert["state"]) for alert in answer["data"]["alerts"]}


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The kit's own configuration, every second instead of every quarter of a minute, and on this stack."""
    directory, port = tmp_path_factory.mktemp("prometheus"), allocate(1)[0]
    text = (
        (KIT / "prometheus.yml")
        .read_text()
        .replace("15s", "1s")
        .replace("localhost:8080", f"localhost:{stack.port}")
    )
    (directory / "prometheus.yml").write_text(text)
    rules = (KIT / "rules.yml").read_text()
    (directory / "rules.yml").write_text(rules.replace("for: 2m", "for: 1s").replace("for: 1m", "for: 1s"))
    command = [
        str(PROMETHEUS),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: requests.get(f"{url}/-/ready", timeout=5).ok, "ready")
            yield Prometheus(url)
        finally:
            process.terminate()


def eventually(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if condition():
                return
        time.sleep(0.5)
    raise AssertionError(f"not {what} within {PATIENCE_SECONDS} s")


def mixed_load(stack: RunningStack) -> None:
    stack.invoke('{"instances": [1.0, 2.0]}').raise_for_status()
    stack.invoke("1.0\n2.0\n", "text/csv").raise_for_status()
    assert stack.invoke("{").status_code == 400
    assert stack.invoke("{}", attributes="tfs-model-name=broken").status_code == 500


def queries() -> list[str]:
    """Every query of every panel, as Grafana would send it."""
    dashboard = json.loads((KIT / "grafana-dashboard.json").read_text())
    return [
        target["expr"].replace("$job", "tfsd").replace("$model", ".*").replace("$__rate_interval", "1m")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def test_the_files_are_in_order() -> None:
    for line in ("check config prometheus.yml", "check rules rules.yml", "test rules rules.test.yml"):
        done = subprocess.run([str(PROMTOOL), *line.split()], cwd=KIT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_clean(stack: RunningStack) -> None:
    mixed_load(stack)
    page = requests.get(stack.url("/metrics"), timeout=10).text
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=page, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if not line.startswith(LINTED_AWAY)] == []


def test_every_panel_has_data_under_mixed_load(stack: RunningStack, prometheus: Prometheus) -> None:
    silent = queries()

    def all_answered() -> bool:
        mixed_load(stack)
        silent[:] = [query for query in silent if not has_data(prometheus.query(query))]
        return not silent

    try:
        eventually(all_answered, "answered")
    except AssertionError as error:
        raise AssertionError(f"no data for {silent}") from error


def has_data(result: list[dict[str, Any]]) -> bool:
    """Whether there is a number, which an empty histogram's quantile is not."""
    return any(sample["value"][1] != "NaN" for sample in result)


def test_a_fault_fires_its_alert(stack: RunningStack, prometheus: Prometheus) -> None:
    assert ("TfsdModelUnavailable", "firing") not in prometheus.alerts()
    stack.stop_program("model-broken")
    eventually(lambda: ("TfsdModelUnavailable", "firing") in prometheus.alerts(), "firing")

    stack.start_program("model-broken")
    stack.wait_until_healthy()
    eventually(lambda: ("TfsdModelUnavailable", "firing") not in prometheus.alerts(), "over")


def test_errors_burn_the_budget(stack: RunningStack, prometheus: Prometheus) -> None:
    def burning() -> bool:
        mixed_load(stack)
        return ("TfsdErrorBudgetBurnsFast", "firing") in prometheus.alerts()

    eventually(burning, "burning")
