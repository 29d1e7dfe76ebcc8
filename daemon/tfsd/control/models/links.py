"""The links by which nginx finds the model servers of models without code, and the workers of those with code, and the
wait until nothing is on its way to a model server.

Owns the links in the run directory and the question to nginx. Which models have one is `stack.slots`' to say. nginx
looks at a link for each request, without a cache, after it has counted the request: a link that is gone leads nobody
anywhere, and when nginx counts nothing for its model, nothing is on its way.
"""

from __future__ import annotations

import http.client
import logging
import os
import time
from pathlib import Path

import gevent

from tfsd.control.connections import UnixConnection, fetch
from tfsd.plan import Plan
from tfsd.run_dir import RunDir
from tfsd.stack import slots

POLL_SECONDS = 0.05
ANSWER_SECONDS = 1.0
IDLE = 204

log = logging.getLogger(__name__)


class Links:
    """The links of one run directory, with what an earlier control made of them."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir

    def follow(self, plan: Plan) -> None:
        """Make the links those of a plan. A model whose link cannot be made is served through a worker.

        Raises OSError when a link cannot be removed.
        """
        made = self._made()
        wanted = {name: self._run_dir.slot(number) for name, number in slots.links(plan).items()}
        for name in made.keys() - wanted.keys():
            self._run_dir.link(name).unlink(missing_ok=True)
        for name, slot in wanted.items():
            target = os.path.relpath(slot, self._run_dir.links)
            if made.get(name) != target:
                self._link(name, slot, target)

    def mark_pool(self, model_id: str, slot: int | None) -> None:
        """Have nginx find the workers of a model with code, in a slot or, without one, by the model's own socket."""
        mark = self._run_dir.pool_mark(model_id)
        mark.unlink(missing_ok=True)
        if slot is None:
            mark.touch()
        else:
            found = self._run_dir.pool_slot(slot)
            found.touch()
            mark.symlink_to(os.path.relpath(found, self._run_dir.pools))

    def wait_until_idle(self, name: str, plan: Plan, limit: float) -> bool:
        """Wait until no request is on its way to the model server of a model that has no link any more.

        Returns False when one still is after `limit` seconds.
        """
        if not plan.slots or not slots.LINK_NAME.fullmatch(name):
            return True
        end = time.monotonic() + limit
        while not self._is_idle(name):
            if time.monotonic() > end:
                return False
            gevent.sleep(POLL_SECONDS)
        return True

    def _is_idle(self, name: str) -> bool:
        """Whether nginx says so; one that is being restarted is asked again."""
        try:
            status, _ = fetch(UnixConnection(self._run_dir.nginx_socket, ANSWER_SECONDS), f"/{name}")
        except (OSError, http.client.HTTPException):
            return False
        return status == IDLE

    def _made(self) -> dict[str, str]:
        """The links that there are, with where they lead."""
        try:
            return {entry.name: os.readlink(entry.path) for entry in os.scandir(self._run_dir.links)}
        except FileNotFoundError:  # a stack without slots
            return {}

    def _link(self, name: str, slot: Path, target: str) -> None:
        partial = self._run_dir.link(".partial")  # no model's: such a name has no link
        try:
            slot.touch()
            partial.unlink(missing_ok=True)
            partial.symlink_to(target)
            partial.replace(self._run_dir.link(name))
        except OSError as error:
            log.error("Model %s has no link for nginx, so that a worker answers for it: %s.", name, error)
