"""Load on an endpoint of local SageMaker, to see that nothing fails meanwhile."""

from __future__ import annotations

import json
import threading

from support.local_sagemaker import LocalSageMaker


class Load:
    """A hundred requests a second at most, by two clients. `answers` are the predictions, `failures` what else came."""

    def __init__(self, sagemaker: LocalSageMaker, name: str) -> None:
        self.answers: list[float] = []
        self.failures: list[Exception] = []
        self._sagemaker, self._name = sagemaker, name
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        client = self._sagemaker.client("sagemaker-runtime")
        body = {
            "EndpointName": self._name,
            "Body": b'{"instances": [2.0]}',
            "ContentType": "application/json",
        }
        while not self._ended.wait(0.02):
            try:
                answer = client.invoke_endpoint(**body)
                self.answers += json.loads(answer["Body"].read())["predictions"]
            except Exception as error:
                self.failures.append(error)
