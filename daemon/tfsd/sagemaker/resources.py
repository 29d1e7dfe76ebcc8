"""What the control plane's resources have in common: finding by name, refusing a name that is taken, lists, waiting.

The texts are interface: SDKs look for "Could not find" and "already existing" in them.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import gevent

from tfsd.sagemaker.call import Call
from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.state import Record, Table

HOLD_SECONDS = 25
HOLD_INTERVAL_SECONDS = 0.05
DEFAULT_PAGE = 10


class Kind:
    """A kind of resource, with its words: `endpoint configuration`, in ARNs `endpoint-config`."""

    def __init__(self, words: str, in_arns: str, table: Callable[[Call], Table]) -> None:
        self.words, self.in_arns, self.table = words, in_arns, table

    def arn(self, call: Call, name: str) -> str:
        return call.arn(self.in_arns, name)

    def get(self, call: Call, name: str) -> Record:
        """Raises ValidationException with AWS's "Could not find …"."""
        record = self.table(call).get(name)
        if record is None:
            raise ValidationException(f'Could not find {self.words} "{self.arn(call, name)}".')
        return record

    def refuse_existing(self, call: Call, name: str) -> None:
        """Raises ValidationException with AWS's "Cannot create already existing …"."""
        if name in self.table(call):
            raise ValidationException(
                f'Cannot create already existing {self.words} "{self.arn(call, name)}".'
            )


MODEL = Kind("model", "model", lambda call: call.emulator.state.models)
ENDPOINT_CONFIG = Kind(
    "endpoint configuration", "endpoint-config", lambda call: call.emulator.state.endpoint_configs
)
ENDPOINT = Kind("endpoint", "endpoint", lambda call: call.emulator.state.endpoints)
TRANSFORM_JOB = Kind("transform job", "transform-job", lambda call: call.emulator.state.transform_jobs)
KINDS = (MODEL, ENDPOINT_CONFIG, ENDPOINT, TRANSFORM_JOB)


def find_by_arn(call: Call, arn: str) -> tuple[Table, str, Record]:
    """The resource that an ARN names, with its table and name. Raises ValidationException."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    for candidate in KINDS:
        if candidate.in_arns == kind:
            for key, record in candidate.table(call).items():
                if key.lower() == name.lower():
                    return candidate.table(call), key, record
    raise ValidationException(f'Could not find resource "{arn}".')


def page(
    request: dict[str, Any],
    records: Iterable[Record],
    name: str,
    status: str | None = None,
    descending: bool = True,
) -> tuple[list[Record], str | None]:
    """The page of a list that a request asks for, filtered and sorted, and the token of the next one.

    `name` and `status` are the members of a record that NameContains, StatusEquals and the sort keys mean.
    """
    by = request.get("SortBy", "CreationTime")

    def place(record: Record) -> list[Any]:
        """Where a record stands among the others: nothing that another one's coming and going changes."""
        values = {"Name": record[name], "Status": record.get(status or "", "")}
        return [values.get(by, record["CreationTime"]), record["CreationTime"], record[name]]

    found = [record for record in records if _passes(request, record, name, status)]
    down = request.get("SortOrder", "Descending" if descending else "Ascending") == "Descending"
    found.sort(key=place, reverse=down)
    last = _place(by, request.get("NextToken"))
    if last is not None:
        found = [record for record in found if (place(record) < last if down else place(record) > last)]
    shown = found[: request.get("MaxResults", DEFAULT_PAGE)]
    return shown, _token(by, place(shown[-1])) if len(shown) < len(found) else None


def held(
    read: Callable[[], Record | None],
    status: str,
    under_way: Collection[str],
    released: Callable[[], bool] = lambda: False,
    seconds: float = HOLD_SECONDS,
) -> Record | None:
    """What `read` returns, once its status is final, or after that time: waiters ask only every 30 or 60 s.

    Nobody is held while it is `released`.
    """
    end = time.monotonic() + seconds
    while (record := read()) is not None and record[status] in under_way and time.monotonic() < end:
        if released():
            break
        gevent.sleep(HOLD_INTERVAL_SECONDS)
    return record


def _passes(request: dict[str, Any], record: Record, name: str, status: str | None) -> bool:
    if request.get("NameContains", "").lower() not in record[name].lower():
        return False
    if status and request.get("StatusEquals", record[status]) != record[status]:
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        moment = record.get(member, record["CreationTime"])
        if not request.get(f"{member}After", 0) <= moment <= request.get(f"{member}Before", float("inf")):
            return False
    return True


def _token(by: str, place: list[Any]) -> str:
    """Where a page ended. The next one begins after it, also when records have come or gone meanwhile."""
    return base64.urlsafe_b64encode(json.dumps([by, *place]).encode()).decode()


def _place(by: str, token: str | None) -> list[Any] | None:
    if not token:
        return None
    try:
        sorted_by, *place = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError) as error:
        raise ValidationException("The NextToken is none that was given out.") from error
    if sorted_by != by:
        raise ValidationException(f"The NextToken is of a list that is sorted by {sorted_by}, not by {by}.")
    return place
