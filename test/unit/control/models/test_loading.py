"""Listing models page by page, and what stands in the journal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from tfsd.control.models.hosts import Host
from tfsd.control.models.journal import LOADING, UNLOADING, Entry, Journal
from tfsd.control.models.loading import Models
from tfsd.control.models.reload import LoadRefused
from tfsd.errors import BadRequest, HttpError
from tfsd.plan import DEFAULT_POOL, Model, ModelServer, Plan, Pool
from tfsd.run_dir import RunDir
from tfsd.settings import Settings

SERVERS = (ModelServer("model-m", 1, 2),)
UNUSED: Any = None


def make_models(run_dir: Path, names: list[str]) -> Models:
    Plan({name: Model(name, "/", (1,), SERVERS, url=f"/u/{name}") for name in names}, {}).save(
        RunDir(run_dir)
    )
    settings = Settings.from_environ({"SAGEMAKER_MULTI_MODEL": "true"}, cpus=1)
    return Models(settings, RunDir(run_dir), UNUSED, UNUSED, UNUSED, 0, UNUSED, UNUSED)


def test_pages_have_every_model_once_by_name(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(2500)] + ["größe", "%2F", "~"]
    models = make_models(tmp_path, names)
    found: list[str] = []
    sizes = []
    token = None
    while True:
        page, token = models.page(token)
        found += [model.name for model in page]
        sizes.append(len(page))
        if token is None:
            break
    assert found == sorted(names)
    assert sizes == [1000, 1000, 503]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_the_last_page_has_no_token(tmp_path: Path, count: int) -> None:
    models = make_models(tmp_path, [str(number) for number in range(count)])
    page, token = models.page(None, size=2)
    assert (len(page), token is None) == (min(count, 2), count <= 2)
    if token:
        page, token = models.page(token, size=2)
        assert (len(page), token) == (count - 2, None)


def test_a_model_that_goes_between_two_pages_takes_no_other_with_it(tmp_path: Path) -> None:
    _, token = make_models(tmp_path, ["a", "b", "c", "d"]).page(None, size=2)
    page, _ = make_models(tmp_path, ["a", "c", "d"]).page(token, size=2)
    assert [model.name for model in page] == ["c", "d"]


@given(st.text())
def test_any_token_is_one_or_a_bad_request(tmp_path_factory: pytest.TempPathFactory, token: str) -> None:
    models = make_models(tmp_path_factory.getbasetemp(), ["a"])
    with contextlib.suppress(BadRequest):
        assert models.page(token)[1] is None


def test_journal_entries_are_read_back_until_they_are_erased(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    journal = Journal(RunDir(tmp_path))
    first = Entry(LOADING, Model("ü b", "/x", (1, 2), SERVERS, "pool", "/u"), helper=77)
    second = Entry(UNLOADING, Model("b", "/y", (1,), SERVERS))
    journal.write(Entry(LOADING, first.model))
    journal.write(first)
    journal.write(second)
    (tmp_path / "journal" / "junk.json").write_text("{")
    assert sorted(Journal(RunDir(tmp_path)).entries(), key=lambda entry: entry.model.name) == [second, first]
    journal.erase("b")
    journal.erase("b")
    assert list(journal.entries()) == [first]


class HostsStub:
    """A host whose first model does not load, and of which it takes a while to get rid."""

    def __init__(self) -> None:
        self.claimed = 0
        self.removing, self.removed = Event(), Event()

    def needs_new(self) -> bool:
        return True

    def claim(self, name: str, *, coded: bool) -> Host:
        self.claimed += 1
        return Host(SERVERS)

    def adopt(self, models: Iterable[Model], *, served: bool) -> None:
        """They are removed by their names."""

    def load(self, host: Host, model: Model) -> None:
        if self.claimed == 1:
            raise LoadRefused("version 1: broken")

    def remove(self, model: Model) -> None:
        self.removing.set()
        self.removed.wait()


def test_a_client_that_goes_while_its_failed_load_is_cleaned_up_leaves_the_name_taken(tmp_path: Path) -> None:
    (tmp_path / "ml/models/m/1").mkdir(parents=True)
    (tmp_path / "ml/models/m/1/saved_model.pb").touch()
    run_dir = RunDir(tmp_path / "run")
    run_dir.make(multi_model=True)
    Plan({}, {DEFAULT_POOL: Pool(DEFAULT_POOL, "python", ())}).save(run_dir)
    environ = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_BASE_DIR": str(tmp_path / "ml")}
    hosts: Any = HostsStub()
    settings = Settings.from_environ(environ, cpus=1)
    models = Models(settings, run_dir, hosts, UNUSED, UNUSED, 0, lambda _: None, lambda: None)
    url = str(tmp_path / "ml/models/m")
    first = gevent.spawn(models.load, "m", url)
    assert hosts.removing.wait(30)
    first.kill()
    second = gevent.spawn(models.load, "m", url)
    gevent.sleep(0.1)  # in which it would claim a place
    assert hosts.claimed == 1
    hosts.removed.set()
    second.get(timeout=30)
    assert models.get("m").url == url
    assert list(Journal(run_dir).entries()) == []
    with pytest.raises(HttpError) as refused:
        models.load("m", url)
    assert refused.value.status == 409


def test_what_a_killed_control_left_half_loaded_is_removed_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.make(multi_model=True)
    Plan({}, {DEFAULT_POOL: Pool(DEFAULT_POOL, "python", ())}).save(run_dir)
    journal = Journal(run_dir)
    journal.write(Entry(LOADING, Model("m", "/m", (1,), SERVERS)))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Plan, "save", full)
    monkeypatch.setattr(Journal, "write", full)
    hosts: Any = HostsStub()
    hosts.removed.set()
    settings = Settings.from_environ({"SAGEMAKER_MULTI_MODEL": "true"}, cpus=1)
    models = Models(settings, run_dir, hosts, UNUSED, UNUSED, 0, lambda _: None, lambda: None)
    models.recover()
    assert hosts.removing.wait(30)
    with gevent.Timeout(30):
        while list(journal.entries()):
            gevent.sleep(0.01)
