#!/usr/bin/env python3
"""The table of what a request costs in front of the model server, each row beside plain proxying in the same run.

    ./bin/local bench bench_table [--quick] [--compare] [--save] [--rounds N] [--seconds S] [--only TEXT]

CPU is that of nginx and the workers (of the server itself where it stands alone) for each request, in µs, over 1, 16
and 64 clients. The model server is a stub, so the figures are what this project adds. In each round every row is
measured once after the plain nginx proxy that it is compared with, and "×" is the median over the rounds of the ratio
of both, with its quartiles. "p99/p50" is of the latencies. The handler of 5 ms shows fairness: at 16 clients nobody
should wait much longer than others.

`--save` writes the ratios to `baseline.json`; `--compare` names what costs more than there, beyond the spread, and ends
with status 1 if anything does. granian and mosec serve the same handler; they are installed beside, into `.bench-venv`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import figures, servers
from bench.table.cases import Case, started
from bench.table.figures import Figures, Key, Sample

BASELINE = Path(__file__).with_name("baseline.json")
CLIENTS = (1, 16, 64)
FAIRNESS = "handler of 5 ms"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="below 4 minutes: 3 rounds, bodies of megabytes without 64 clients",
    )
    parser.add_argument("--rounds", type=int, help="(default: 7, quick 3)")
    parser.add_argument(
        "--seconds", type=float, help="of load for each measurement (default: 0.5, quick 0.2)"
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose name has this in it")
    parser.add_argument("--clients", type=int, action="append", choices=CLIENTS, help="(default: all)")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 7)
    seconds = options.seconds or (0.2 if options.quick else 0.5)
    others = _with_others()
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tfsd-") as directory, started(Path(directory), others) as cases:
        wanted = _wanted(cases, options.only)
        samples = _measure(wanted, rounds, seconds, options.clients or CLIENTS, options.quick)
    conditions = {
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
        "rounds": rounds,
        "seconds": seconds,
        "load before": round(load, 1),
        "load after": round(os.getloadavg()[0], 1),
    }
    plains = {case.name: case.plain for case in wanted}
    found = {
        (name, clients): figures.figures(row, samples[plains[name], clients])
        for (name, clients), row in samples.items()
    }
    _report(found)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()), end="")
    print(f"; took {time.monotonic() - began:.0f} s")
    if options.save:
        figures.save(options.baseline, _rows(found), conditions)
    return _compare(found, options.baseline) if options.compare else 0


def _with_others() -> bool:
    try:
        servers.install_others()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Without granian and mosec, which could not be installed: {error}", file=sys.stderr)
        return False
    return True


def _wanted(cases: list[Case], only: list[str] | None) -> list[Case]:
    """The cases that are asked for, and the plain ones that they need."""
    chosen = {case.name for case in cases if not only or any(text in case.name for text in only)}
    chosen |= {case.plain for case in cases if case.name in chosen}
    return [case for case in cases if case.name in chosen]


def _measure(
    cases: list[Case], rounds: int, seconds: float, clients: tuple[int, ...], quick: bool
) -> dict[Key, list[Sample]]:
    samples: dict[Key, list[Sample]] = {}
    for number in range(rounds + 1):  # the first one warms
        for case in cases:
            for count in clients:
                if quick and count == 64 and case.name.endswith(" MB"):
                    continue
                if number == 0 and case.name.endswith("10 MB"):
                    continue
                if case.clients is not None and count not in case.clients:
                    continue
                sample = case.measure(count, seconds if number else 0.05)
                if number:
                    samples.setdefault((case.name, count), []).append(sample)
    return samples


def _rows(found: dict[Key, Figures]) -> dict[Key, Figures]:
    """Without plain proxying, which all else is compared with."""
    return {key: row for key, row in found.items() if not key[0].startswith("plain")}


def _report(found: dict[Key, Figures]) -> None:
    print(
        f"{'':36}{'clients':>8}{'plain':>9}{'CPU µs':>9}{'×':>8}   quartiles    {'req/s':>8}{'p50 ms':>9}{'p99/p50':>9}"
    )
    for (name, clients), row in _rows(found).items():
        spread = f"{row.ratio.low:5.2f}–{row.ratio.high:<7.2f}"
        print(
            f"{name:36}{clients:8}{row.plain:9.0f}{row.cpu:9.0f}{row.ratio.median:8.2f}   {spread}"
            f"{row.rate:8.0f}{row.p50:9.2f}{row.tail:9.1f}"
        )


def _compare(found: dict[Key, Figures], baseline: Path) -> int:
    before = figures.load(baseline)
    now = {
        key: row.ratio for key, row in _rows(found).items() if key[0] != FAIRNESS
    }  # whose CPU is its handler's
    slow = figures.slower(now, before)
    for name, clients in slow:
        is_now, was = now[name, clients], before[name, clients]
        print(
            f"Slower: {name}, {clients} clients: {is_now.median:.2f} × plain ({is_now.low:.2f}–{is_now.high:.2f}), "
            f"before {was.median:.2f} ({was.low:.2f}–{was.high:.2f})."
        )
    if not slow:
        print(f"Nothing is slower than in {baseline.name}, beyond the spread.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
