"""The life of the models of a multi-model endpoint (hosting contract, section 4): load, list, get, unload.

Owns the order of things, so that whoever is killed when, what is loaded stays loaded and nothing else is left:
a journal entry first, then processes and files, then the plan, then the entry goes. Unloading is the reverse.
Knows nothing of HTTP but the statuses of the errors.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import logging
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent.event import Event

from tfsd import model_directory
from tfsd.control.models import capacity, code_preparation, failures
from tfsd.control.models.capacity import Capacity, NotEnoughMemory
from tfsd.control.models.hosts import Host, Hosts
from tfsd.control.models.journal import LOADING, UNLOADING, Entry, Journal
from tfsd.control.models.links import Links
from tfsd.control.models.programs import Programs
from tfsd.control.models.readiness import wait_for_pool
from tfsd.control.models.requests_in_flight import wait_until_idle
from tfsd.control.supervisor_client import SupervisorClient
from tfsd.errors import BadRequest, HttpError, NotFound
from tfsd.model_directory import CODE_DIRECTORY, FoundModel, ModelError, UserCode
from tfsd.plan import DEFAULT_POOL, Model, Plan, Pool
from tfsd.run_dir import RunDir
from tfsd.settings import Settings
from tfsd.stack import multi_model, slots
from tfsd.stack.design import environment_directory
from tfsd.stack.ports import PortError
from tfsd.start import user_code

MAX_NAME_CHARACTERS = 255
PAGE_SIZE = 1000

log = logging.getLogger(__name__)


class Conflict(HttpError):
    """409: the model is loaded, or being loaded."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


@dataclasses.dataclass
class _Transition:
    """A model on its way in or out. `over` is set when it has arrived, or is gone without a trace.

    `cleaning` is the greenlet that removes what a failed load has begun.
    """

    phase: str
    over: Event = dataclasses.field(default_factory=Event)
    cleaning: gevent.Greenlet[[], None] | None = None


class Models:
    """The models that are loaded. `server_bytes` is the memory of a model server process without a model.

    `forget` is called with the name of a model that is gone, `changed` after each change of the plan.
    """

    def __init__(
        self,
        settings: Settings,
        run_dir: RunDir,
        hosts: Hosts,
        programs: Programs,
        supervisor: SupervisorClient,
        server_bytes: int,
        forget: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._hosts = hosts
        self._programs = programs
        self._supervisor = supervisor
        self._server_bytes = server_bytes
        self._forget = forget
        self._changed = changed
        self._journal = Journal(run_dir)
        self._links = Links(run_dir)
        limit = settings.memory_limit_mb
        self._capacity = Capacity(
            lambda: capacity.free_memory(limit * capacity.MB if limit is not None else None)
        )
        self._plan = Plan.load(run_dir)
        self._transitions: dict[str, _Transition] = {}

    # What is there

    def page(self, token: str | None, size: int = PAGE_SIZE) -> tuple[list[Model], str | None]:
        """The loaded models after the one that `token` stands for, by name, and the token of the next page.

        Raises BadRequest for a token that is none.
        """
        names = sorted(self._plan.models)
        start = bisect_right(names, _name_of(token)) if token else 0
        shown = names[start : start + size]
        more = start + size < len(names)
        return [self._plan.models[name] for name in shown], _token_of(shown[-1]) if more else None

    def get(self, name: str) -> Model:
        """A loaded model. Raises NotFound."""
        model = self._plan.models.get(name)
        if model is None:
            raise NotFound(f"Model {name} is not loaded yet.")
        return model

    # Coming

    def load(self, name: str, url: str) -> None:
        """Load the model at `url`; returns when an invocation would succeed.

        Raises HttpError: 400, 404, 409, 507, or 504 after the time limit. Then nothing of the model is left; when the
        calling greenlet is killed meanwhile, soon: until then the name is taken.
        """
        _check_name(name)
        directory = self._directory(url)
        transition = self._enter(name)
        started = time.monotonic()
        try:
            model = self._load(name, url, directory, transition)
        except HttpError as error:
            log.warning("Model %s is not loaded (%d): %s", name, error.status, error.message)
            raise
        except gevent.GreenletExit:
            log.warning("Model %s is not loaded: the client closed the connection.", name)
            raise
        finally:
            self._leave(name, transition)
        took = time.monotonic() - started
        versions, server = ", ".join(map(str, model.versions)), model.servers[0].program
        log.info(
            "Model %s is loaded from %s after %.1f s, versions %s, on %s.", name, url, took, versions, server
        )

    def _enter(self, name: str) -> _Transition:
        """Take the name; one that is on its way out is waited for. Raises Conflict."""
        while name in self._transitions:
            transition = self._transitions[name]
            if transition.phase == LOADING:
                raise Conflict(f"Model {name!r} is being loaded already.")
            transition.over.wait()
        if name in self._plan.models:
            raise Conflict(f"Model {name!r} is loaded already.")
        self._transitions[name] = transition = _Transition(LOADING)
        return transition

    def _leave(self, name: str, transition: _Transition) -> None:
        """Give the name back, at once or when the cleaning is over."""
        if transition.cleaning is not None and not transition.cleaning.ready():
            transition.cleaning.link(lambda _: self._leave(name, transition))
            return
        if self._transitions.get(name) is transition:
            del self._transitions[name]
        transition.over.set()

    def _load(self, name: str, url: str, directory: Path, transition: _Transition) -> Model:
        found, code, size = self._inspect(name, directory)
        needed = capacity.estimate(
            size,
            self._server_bytes * self._settings.instance_count if self._hosts.needs_new() else 0,
            self._settings.workers if code else 0,
        )
        try:
            with self._capacity.reserve(needed):
                universal = self._plan.pools[DEFAULT_POOL].script is not None
                host = self._hosts.claim(name, coded=code is not None or universal)
                pool = multi_model.own_pool_name(name) if code else DEFAULT_POOL
                model = Model(name, str(found.base_path), found.versions, host.servers, pool, url)
                return self._bring_up(model, host, code, transition)
        except (PortError, NotEnoughMemory) as error:
            raise failures.InsufficientStorage(f"Model {name!r}: {error}.") from error

    def _inspect(self, name: str, directory: Path) -> tuple[FoundModel, UserCode | None, int]:
        """What is in the directory; in a thread, since a network file system may take its time."""
        return gevent.get_hub().threadpool.apply(self._look_at, (name, directory))

    def _look_at(self, name: str, directory: Path) -> tuple[FoundModel, UserCode | None, int]:
        if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
            raise NotFound(f"Model {name!r}: nothing lies at {directory}.")
        try:
            found = model_directory.find_models(directory, self._settings.newest_versions)
            if len(found) > 1:
                names = ", ".join(model.name for model in found)
                raise ModelError(f"{directory} holds several models ({names}); load each by a url of its own")
            model = found[0]
            own = model.base_path / CODE_DIRECTORY
            code = user_code.of_one_model(own, self._settings) if own.is_dir() else None
            if code is None:
                code = user_code.of_one_model(directory / CODE_DIRECTORY, self._settings)
        except ModelError as error:
            raise BadRequest(f"Model {name!r}: {error}.") from error
        if code and not self._run_dir.names_js.exists() and not multi_model.PLAIN_NAME.fullmatch(name):
            raise BadRequest(
                f"Model {name!r} has code of its own, so that its name must have 1 to 40 of the characters A-Z, a-z, "
                "0-9, dot, hyphen and underscore: nginx has no njs module here, which would find others."
            )
        return model, code, capacity.saved_model_bytes(model)

    def _bring_up(self, model: Model, host: Host, code: UserCode | None, transition: _Transition) -> Model:
        """Start everything, the model server and the code's preparation at the same time, and enter the plan."""
        entry = Entry(LOADING, model)
        tasks: list[gevent.Greenlet] = []
        try:
            self._journal.write(entry)
            tasks.append(gevent.spawn(self._hosts.load, host, model))
            if code:
                tasks.append(gevent.spawn(self._start_workers, entry, code))
            with gevent.Timeout(self._settings.load_timeout):
                for task in gevent.iwait(tasks):
                    task.get()
            model = dataclasses.replace(model, servers=host.servers)  # they may have moved meanwhile
            self._change_plan(add=model)
        except BaseException as error:
            transition.phase = UNLOADING
            # in a greenlet of its own, which goes on when this one is killed
            transition.cleaning = gevent.spawn(self._give_up, model, tasks)
            transition.cleaning.get()
            raise failures.answer(model.name, error, self._settings.load_timeout) from error
        self._journal.erase(model.name)
        return model

    def _give_up(self, model: Model, tasks: list[gevent.Greenlet]) -> None:
        """Stop a load's tasks and remove what they have made."""
        gevent.killall(tasks)
        self._remove(model)

    def _start_workers(self, entry: Entry, code: UserCode) -> None:
        """Prepare the code and start its worker pool; returns when its workers answer."""
        name = entry.model.name
        ready = code_preparation.prepare(
            code,
            environment_directory(self._run_dir, entry.model.pool),
            self._run_dir,
            lambda group: self._journal.write(dataclasses.replace(entry, helper=group)),
        )
        slot = slots.free_pool_slot(self._settings, self._run_dir, self._plan)
        pool = multi_model.own_pool(self._run_dir, name, ready, self._settings.workers, slot)
        self._change_plan(pool=pool)  # the workers find themselves there
        sections = multi_model.pool_programs(self._settings, self._run_dir, pool)
        self._programs.add(multi_model.pool_stem(pool), sections, [*multi_model.pool_groups(pool)])
        wait_for_pool(pool, self._programs)
        self._links.mark_pool(multi_model.socket_id(name), slot)

    # Going

    def unload(self, name: str) -> Model:
        """Unload a model and return it when everything of it is gone. Raises NotFound.

        It goes on when the calling greenlet is killed.
        """
        model = self.get(name)
        if name in self._transitions:
            raise NotFound(f"Model {name!r} is being unloaded already.")
        transition = self._transitions[name] = _Transition(UNLOADING)
        gevent.spawn(self._unload, model, transition).get()
        return model

    def _unload(self, model: Model, transition: _Transition) -> None:
        try:
            if model.name in self._plan.models:  # else an earlier control has noted that it goes
                self._journal.write(Entry(UNLOADING, model))
                try:
                    self._change_plan(remove=model.name)
                except OSError:  # a full disk: it stays loaded
                    self._journal.erase(model.name)
                    raise
            self._wait_until_idle(model)
            self._remove(model)
            log.info("Model %s is unloaded.", model.name)
        finally:
            self._leave(model.name, transition)

    def _wait_until_idle(self, model: Model) -> None:
        """Have the requests in flight finished: those that nginx sent to the model server, then the workers'."""
        limit, started, plan = self._settings.request_timeout, time.monotonic(), self._plan
        idle = self._links.wait_until_idle(model.name, plan, limit)
        if pool := plan.pools.get(model.pool):
            left = limit - (time.monotonic() - started)
            idle &= wait_until_idle(model.name, pool, plan.generation, self._run_dir, self._supervisor, left)
        if not idle:
            log.warning(
                "Model %s is unloaded while requests are in flight that took longer than %g s; they are cut off.",
                model.name,
                limit,
            )

    def _remove(self, model: Model) -> None:
        """Remove all that there may be of a model that is not in the plan."""
        removing = [gevent.spawn(self._hosts.remove, model)]
        if model.pool != DEFAULT_POOL:
            self._run_dir.pool_mark(multi_model.socket_id(model.name)).unlink(missing_ok=True)
            removing.append(gevent.spawn(self._remove_pool, model.pool))
        gevent.joinall(removing)
        for task in removing:
            task.get()
        self._forget(model.name)
        self._journal.erase(model.name)

    def _remove_pool(self, name: str) -> None:
        stem = environment_directory(self._run_dir, name).name
        pool = self._plan.pools.get(name)
        programs = [worker.program for worker in pool.workers] if pool else []
        self._programs.remove(stem, [*multi_model.pool_groups(pool)] if pool else [stem], programs)
        if pool:
            self._change_plan(remove_pool=name)
        for program in programs:
            self._run_dir.heartbeat(program).unlink(missing_ok=True)
        environment = environment_directory(self._run_dir, name)
        gevent.get_hub().threadpool.apply(shutil.rmtree, (environment,), {"ignore_errors": True})

    # Moving

    def move_server(self, program: str) -> None:
        """Start a model server on other ports, since its own are taken. Raises PortError, SupervisorError, OSError."""
        self._hosts.move(program, lambda server: self._enter_plan(self._plan.with_server(server)))

    # After a restart of control

    def recover(self) -> None:
        """Take up what an earlier control left: finish its unloads, clean up after its loads. Raises OSError."""
        self._links.follow(self._plan)
        self._hosts.adopt(self._plan.models.values(), served=True)
        for entry in list(self._journal.entries()):
            name = entry.model.name
            if entry.phase == LOADING and name in self._plan.models:
                self._journal.erase(name)
                continue
            log.warning("Model %s: control was restarted while it was %s; removing it.", name, entry.phase)
            self._hosts.adopt([entry.model], served=False)
            self._transitions[name] = transition = _Transition(UNLOADING)
            gevent.spawn(self._resume, entry, transition)

    def _resume(self, entry: Entry, transition: _Transition) -> None:
        if entry.helper is not None:
            code_preparation.kill_orphans(entry.helper, self._run_dir)
        self._unload(entry.model, transition)

    # Helpers

    def _change_plan(
        self,
        add: Model | None = None,
        remove: str | None = None,
        pool: Pool | None = None,
        remove_pool: str | None = None,
    ) -> None:
        """Replace the plan, in memory and in the run directory; workers see it with their next request."""
        models, pools = dict(self._plan.models), dict(self._plan.pools)
        if add:
            models[add.name] = add
        if pool:
            pools[pool.name] = pool
        models.pop(remove or "", None)
        pools.pop(remove_pool or "", None)
        generation = self._plan.generation + 1
        self._enter_plan(dataclasses.replace(self._plan, models=models, pools=pools, generation=generation))

    def _enter_plan(self, plan: Plan) -> None:
        plan.save(self._run_dir)
        self._plan = plan
        self._links.follow(plan)
        self._changed()

    def _directory(self, url: str) -> Path:
        """The directory that a url means. Raises BadRequest when it is not below the models directory."""
        root = self._settings.models_dir.resolve()
        try:
            directory = Path(url).resolve()
            directory.exists()
        except (OSError, ValueError, RuntimeError):  # a zero byte; too long; links that go round
            raise BadRequest(
                f"The url {url!r} is not a path; give the absolute path of a model directory."
            ) from None
        if not Path(url).is_absolute() or root not in directory.parents:
            raise BadRequest(
                f"The url {url!r} is not below {root}; put the model there, and give its absolute path."
            )
        return directory


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or "/" in name or name in (".", ".."):
        raise BadRequest(
            f"model_name must have 1 to {MAX_NAME_CHARACTERS} characters and no slash; this is {name[:300]!r}."
        )
    if model_directory.UNUSABLE.search(name):
        raise BadRequest(f"model_name {name!r} has a control character or is not Unicode.")


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_of(token: str) -> str:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
    raise BadRequest(
        f"Unknown next_page_token {token[:100]!r}; use the nextPageToken of a response, as it is."
    )
