"""A multi-model endpoint in a container: the platform's calls, with models where the platform lays them, read-only."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from support.docker import Composed, StartEndpoint

TWO, THREE = "3f0a9c", "77b1e2"  # the platform's names are hashes


@pytest.fixture(scope="module")
def endpoint(start_endpoint: StartEndpoint, numbers: Path) -> Composed:
    volumes = [
        f"{numbers / 'half_plus_two'}:{directory(TWO)}:ro",
        f"{numbers / 'half_plus_three'}:{directory(THREE)}:ro",
    ]
    return start_endpoint(numbers, volumes=volumes, SAGEMAKER_MULTI_MODEL="true")


def directory(name: str) -> str:
    return f"/opt/ml/models/{name}/model"


def load(endpoint: Composed, name: str) -> requests.Response:
    return endpoint.request("POST", "/models", json={"model_name": name, "url": directory(name)})


def invoke(endpoint: Composed, name: str) -> requests.Response:
    return endpoint.request("POST", f"/models/{name}/invoke", json={"instances": [1.0]})


def test_models_come_and_go(endpoint: Composed) -> None:
    assert endpoint.get("/models").json()["models"] == []
    assert invoke(endpoint, TWO).status_code == 404

    for name in (TWO, THREE):
        assert load(endpoint, name).status_code == 200
    assert load(endpoint, TWO).status_code == 409
    loaded = [{"modelName": name, "modelUrl": directory(name)} for name in (TWO, THREE)]
    assert sorted(endpoint.get("/models").json()["models"], key=lambda model: model["modelName"]) == loaded
    assert endpoint.get(f"/models/{TWO}").json() == loaded[0]
    assert invoke(endpoint, TWO).json() == {"predictions": [3.5]}
    assert invoke(endpoint, THREE).json() == {"predictions": [3.5]}

    assert endpoint.request("DELETE", f"/models/{TWO}").status_code == 200
    assert invoke(endpoint, TWO).status_code == 404
    assert invoke(endpoint, THREE).status_code == 200
    assert load(endpoint, TWO).status_code == 200
    assert endpoint.get("/ping").status_code == 200
