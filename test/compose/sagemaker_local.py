"""Deploys an image with the SageMaker Python SDK's local mode, as its users do, and prints the answers as JSON.

usage: python sagemaker_local.py IMAGE DIRECTORY endpoint|handlers|transform=PORT …

Run by test_sagemaker_sdk.py in the SDK's own environment, where nothing of tfsd is; DIRECTORY has archives of one model
and of two, and takes our files. What is named is done side by side, in forks: to import the SDK takes seconds of CPU.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import traceback
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sagemaker.deserializers import CSVDeserializer
from sagemaker.local import LocalSession
from sagemaker.serializers import CSVSerializer, JSONLinesSerializer
from sagemaker.tensorflow import TensorFlowModel, TensorFlowPredictor

CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
ROLE = "arn:aws:iam::111122223333:role/none"
INFERENCE = """
import json


def input_handler(data, context):
    return json.dumps({"instances": [float(word) for word in data.read().decode().split()]})


def output_handler(response, context):
    return json.dumps({"halves": response.json()["predictions"]}), "application/json"
"""


def main(image: str, directory: Path, ports: dict[str, int]) -> None:
    with ProcessPoolExecutor(len(ports), multiprocessing.get_context("fork")) as forks:
        answers = {verb: forks.submit(answer, image, port, directory, verb) for verb, port in ports.items()}
    said = {verb: _result(future) for verb, future in answers.items()}
    print(f"\n{json.dumps(said)}")  # the SDK prints dots without an end


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    error = future.exception()
    return {"failed": "".join(traceback.format_exception(error))} if error else future.result()


def answer(image: str, port: int, parent: Path, verb: str) -> dict[str, Any]:
    archive = parent / ("two.tar.gz" if verb == "endpoint" else "one.tar.gz")
    directory = parent / verb
    directory.mkdir()
    session = LocalSession(sagemaker_config=CONFIG)
    session.config = {"local": {"serving_port": port}}
    session.s3_client.create_bucket(
        Bucket=f"models-{verb}", CreateBucketConfiguration={"LocationConstraint": session.boto_region_name}
    )
    common = {
        "model_data": f"file://{archive}",
        "role": ROLE,
        "image_uri": image,
        "framework_version": "2.16",
        "sagemaker_session": session,
        "code_location": f"s3://models-{verb}",
    }
    return VERBS[verb](common, directory)


def endpoint(common: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Without an entry point: the predictor's serializers and its choice of model."""
    predictor = TensorFlowModel(**common).deploy(1, "local")
    try:
        name, session = predictor.endpoint_name, common["sagemaker_session"]
        csv = TensorFlowPredictor(name, session, serializer=CSVSerializer(), deserializer=CSVDeserializer())
        csv.accept = ("text/csv",)
        lines = TensorFlowPredictor(name, session, serializer=JSONLinesSerializer())
        other = TensorFlowPredictor(name, session, model_name="half_plus_two", model_version="123")
        return {
            "json": predictor.predict({"instances": [1.0, 2.0, 5.0]}),
            "csv": csv.predict([[1.0], [2.0]]),
            "jsonlines": lines.predict([1.0, 2.0]),
            "other": other.predict({"instances": [1.0]}),
        }
    finally:
        predictor.delete_endpoint()


def handlers(common: dict[str, Any], directory: Path) -> dict[str, Any]:
    """With an entry point, which the SDK packs into the archive and uploads."""
    script = directory / "inference.py"
    script.write_text(INFERENCE)
    predictor = TensorFlowModel(entry_point=str(script), **common).deploy(1, "local")
    try:
        predictor.serializer = CSVSerializer()
        return {"handlers": predictor.predict("1 2 5")}
    finally:
        predictor.delete_endpoint()


def transform(common: dict[str, Any], directory: Path) -> dict[str, Any]:
    """A batch transform of a file with a number a line."""
    source, target = directory / "in", directory / "out"
    source.mkdir()
    (source / "numbers.csv").write_text("".join(f"{number}.0\n" for number in range(20)))
    transformer = TensorFlowModel(**common).transformer(
        1,
        "local",
        strategy="MultiRecord",
        assemble_with="Line",
        accept="text/csv",
        output_path=f"file://{target}",
    )
    transformer.transform(f"file://{source}", content_type="text/csv", split_type="Line")
    transformer.wait()
    return {"lines": (target / "numbers.csv.out").read_text().split()}


VERBS = {"endpoint": endpoint, "handlers": handlers, "transform": transform}

if __name__ == "__main__":
    wanted = dict(word.split("=") for word in sys.argv[3:])
    main(sys.argv[1], Path(sys.argv[2]), {verb: int(port) for verb, port in wanted.items()})
