"""Watching model directories: what is told to the lifecycle, and what to the operator."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tfsd.model_server.source import VersionSource
from tfsd.model_server.versions import ModelConfig


class Recorder:
    def __init__(self) -> None:
        self.directories: dict[str, list[str] | None] = {"/a": ["1"], "/b": ["7"]}
        self.aspired: list[tuple[str, dict[int, str]]] = []

    def aspire(self, model: str, versions: Mapping[int, str]) -> None:
        self.aspired.append((model, dict(versions)))

    def list_directory(self, path: str) -> list[str] | None:
        if path == "/broken":
            raise OSError("the disk is away")
        return self.directories.get(path)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def source(recorder: Recorder, poll_seconds: int = 1) -> VersionSource:
    return VersionSource(recorder.aspire, recorder.list_directory, poll_seconds)


A, B = ModelConfig("a", "/a"), ModelConfig("b", "/b")


def test_versions_are_told_and_dropped_models_let_go(recorder: Recorder) -> None:
    versions = source(recorder)
    versions.set_models([A, B])
    assert recorder.aspired == [("a", {1: "/a/1"}), ("b", {7: "/b/7"})]
    recorder.aspired.clear()
    versions.set_models([B])
    assert recorder.aspired == [("a", {}), ("b", {7: "/b/7"})]


def test_a_base_path_without_versions_unloads_but_a_missing_one_changes_nothing(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    versions = source(recorder)
    recorder.directories |= {"/a": [], "/b": None}
    versions.set_models([A, B])
    assert recorder.aspired == [("a", {})]
    assert "No versions of servable a found under base path /a" in caplog.text
    assert "Could not find base path /b for servable b" in caplog.text


def test_one_broken_directory_does_not_keep_the_others_from_being_polled(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    source(recorder).set_models([ModelConfig("x", "/broken"), A])
    assert recorder.aspired == [("a", {1: "/a/1"})]
    assert "Cannot list /broken of model x: the disk is away" in caplog.text


def test_the_same_complaint_is_not_repeated_at_every_poll(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    versions = source(recorder)
    for _ in range(10):
        versions.set_models([ModelConfig("x", "/nowhere")])
    assert caplog.text.count("Could not find base path /nowhere") == 1


def test_polls_by_itself(recorder: Recorder) -> None:
    versions = source(recorder, poll_seconds=1)
    versions.set_models([A])
    versions.start()
    recorder.directories["/a"] = ["1", "2"]
    deadline = time.monotonic() + 30
    while ("a", {2: "/a/2"}) not in recorder.aspired:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    versions.stop()


def test_an_interval_of_zero_looks_only_once(recorder: Recorder) -> None:
    versions = source(recorder, poll_seconds=0)
    versions.set_models([A])
    assert recorder.aspired == [("a", {1: "/a/1"})]
    recorder.aspired.clear()
    versions.set_models([A, B])
    assert recorder.aspired == []
    versions.set_models([B])
    assert recorder.aspired == [("a", {})]


def test_a_negative_interval_never_looks(recorder: Recorder) -> None:
    versions = source(recorder, poll_seconds=-1)
    versions.set_models([A])
    versions.start()
    assert recorder.aspired == []
