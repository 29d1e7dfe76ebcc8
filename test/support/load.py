"""Requests from many threads while something happens to the stack, and what became of them."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

import requests


class Load:
    """A context manager: `clients` threads post the same request again and again, each over its own connection.

    `outcomes` counts answers by status, and requests without an answer by the exception's name. `url` may be a function
    that chooses one for each request. A client waits for `pause` seconds before it asks again, where what happens takes
    long and the machine has other tests to run. `attributes` are the requests' custom attributes.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        body: str | bytes,
        content_type: str = "application/json",
        clients: int = 8,
        pause: float = 0.0,
        attributes: str = "",
    ):
        self.url = url
        self.body = body
        self._pause = pause
        self.headers = {"Content-Type": content_type}
        if attributes:
            self.headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
        self.outcomes: collections.Counter[int | str] = collections.Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def wait_for_more(self, count: int = 20, seconds: float = 60) -> None:
        """Wait until that many further requests have been answered with 200."""
        wanted = self.outcomes[200] + count
        end = time.monotonic() + seconds
        while self.outcomes[200] < wanted:
            assert time.monotonic() < end, f"no further answers: {self.outcomes} {self.failures[:3]}"
            time.sleep(0.02)

    def assert_none_failed(self) -> None:
        assert set(self.outcomes) == {200}, f"{self.outcomes} {self.failures[:5]}"

    def _run(self) -> None:
        session = requests.Session()
        while not self._stop.is_set():
            try:
                url = self.url if isinstance(self.url, str) else self.url()
                answer = session.post(url, data=self.body, headers=self.headers, timeout=90)
                outcome: int | str = answer.status_code
                text = answer.text
            except requests.RequestException as error:
                outcome, text = type(error).__name__, str(error)
            with self._lock:
                self.outcomes[outcome] += 1
                if outcome != 200:
                    self.failures.append(f"{outcome}: {text[:300]}")
            self._stop.wait(self._pause)
