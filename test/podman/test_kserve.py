"""deploy/kserve as podman runs it: the runtime's container with the digits example where KServe lays a model."""

from __future__ import annotations

import secrets
from pathlib import Path

import requests

from support.podman import Pod, image_with_model, of_kserve

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_the_digits_example_answers_over_kserves_protocol(server: str, tmp_path: Path) -> None:
    model = {name: DIGITS / name for name in ("digits", "code")}
    with image_with_model(tmp_path, model, at="/mnt/models") as image:
        manifests = of_kserve(image, "digits")
        with Pod(manifests, f"tfsd-{secrets.token_hex(4)}", 10001, {"cpu": "1", "memory": "1Gi"}) as pod:
            pod.wait_until_ready()
            response = requests.post(
                f"{pod.url}/v1/models/digits:predict",
                data=(DIGITS / "sample.png").read_bytes(),
                headers={"Content-Type": "application/x-image"},
                timeout=60,
            )
    assert response.status_code == 200
    assert response.json()["digit"] == 7
