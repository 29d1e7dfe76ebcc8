"""Two models without user code in a container: batching, another port, a range of ports, batch transform."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.docker import Composed, StartEndpoint

PORT = 9090
PORT_RANGE = range(20000, 20010)
LISTENING = "0A"


@pytest.fixture(scope="module")
def batching(start_endpoint: StartEndpoint, numbers: Path) -> Composed:
    return start_endpoint(
        numbers,
        SAGEMAKER_TFS_ENABLE_BATCHING="true",
        SAGEMAKER_TFS_MAX_BATCH_SIZE="4",
        SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS="200000",
        SAGEMAKER_BIND_TO_PORT=str(PORT),
        SAGEMAKER_SAFE_PORT_RANGE=f"{PORT_RANGE[0]}-{PORT_RANGE[-1]}",
        SAGEMAKER_TFS_DEFAULT_MODEL_NAME="half_plus_two",
    )


def test_requests_are_answered_each_with_its_own(batching: Composed) -> None:
    """Whatever the model server batches together, nobody gets another's answer."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda x: batching.invoke(f'{{"instances": [{x}.0]}}'), range(24))
        assert [answer.json() for answer in answers] == [{"predictions": [x / 2 + 3]} for x in range(24)]


def test_a_batch_beyond_the_limit_is_refused(batching: Composed) -> None:
    """Which shows that the model server does batch."""
    answer = batching.invoke('{"instances": [1.0, 2.0, 3.0, 4.0, 5.0]}')
    assert answer.status_code == 400
    assert "batch" in answer.json()["error"].lower()


def test_models_are_chosen_by_attribute(batching: Composed) -> None:
    answer = batching.invoke("1.0\n2.0", "text/csv", attributes="tfs-model-name=half_plus_three")
    assert answer.json() == {"predictions": [3.5, 4.0]}


def test_ports_lie_in_the_range(batching: Composed) -> None:
    ports = set(listening_ports(batching))
    assert PORT in ports
    assert ports - {PORT} <= set(PORT_RANGE)
    assert len(ports) == 5  # REST and gRPC of two model servers


def listening_ports(endpoint: Composed) -> Iterator[int]:
    for file in ("tcp", "tcp6"):
        for line in endpoint.run("cat", f"/proc/net/{file}").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == LISTENING and address != "0B00007F":  # docker's own name server
                yield int(port, 16)


@pytest.fixture(scope="module")
def batch_transform(start_endpoint: StartEndpoint, numbers: Path) -> Composed:
    return start_endpoint(
        numbers / "half_plus_two",
        SAGEMAKER_BATCH="true",
        SAGEMAKER_MAX_PAYLOAD_IN_MB="0",
        SAGEMAKER_BATCH_STRATEGY="MultiRecord",
        SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="2",
    )


def test_execution_parameters(batch_transform: Composed) -> None:
    assert batch_transform.get("/execution-parameters").json() == {
        "MaxConcurrentTransforms": 2,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 0,
    }


def test_a_record_in_is_a_record_out(batch_transform: Composed) -> None:
    """MaxPayloadInMB=0 sends bodies of unknown length, in chunks; AssembleWith=Line wants a line a record."""
    lines = [f"{number}.0\n".encode() for number in range(1000)]
    answer = batch_transform.invoke(iter(lines), "text/csv", Accept="text/csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert [float(line) for line in answer.text.splitlines()] == [number / 2 + 3 for number in range(1000)]
