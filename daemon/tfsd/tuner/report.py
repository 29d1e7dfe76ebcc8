"""What a tuning leaves: `report.json`, `report.html` in one file, and a table on the terminal. Computes no figure."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

import tfsd
from tfsd import machine
from tfsd.tuner import plots
from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.intervals import Interval
from tfsd.tuner.trials import Trial
from tfsd.tuner.tuning import Findings
from tfsd.tuner.verdict import AS_GOOD, OPEN

TEMPLATE = Path(__file__).with_name("report.html")
PACKAGES = ("tensorflow-cpu", "tensorflow", "numpy", "scipy", "matplotlib", "gevent")


def document(findings: Findings, model: str, repeat: str, server: str) -> dict[str, Any]:
    """All findings as JSON; times in milliseconds, rates in requests a second. `server` is the model server's name."""
    default = findings.trials[0] if findings.trials else Trial(findings.default)
    best = findings.best or default
    verdict = findings.verdict
    assert verdict is not None
    return {
        "model": model,
        "moment": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(findings.seconds, 1),
        "ended": findings.ended,
        "goal": str(findings.goal) if findings.goal else None,
        "quantile": f"p{findings.goal.quantile * 100:g}" if findings.goal else "",
        "requests": {
            "source": findings.bodies.source if findings.bodies else "",
            "count": len(findings.bodies.requests) if findings.bodies else 0,
        },
        "remarks": findings.remarks,
        "verdict": {
            "kind": verdict.kind,
            "batching": verdict.batching,
            "ratio": _interval(verdict.ratio) if verdict.ratio else None,
            "sentences": list(verdict.sentences),
        },
        "environment": environment(findings),
        "idle_ms": findings.idle_seconds * 1e3,
        "curve": _curve(findings.curve) if findings.curve else None,
        "trials": [_trial(trial, default, best, findings.goal) for trial in findings.trials],
        "pairs": [{"default": first, "best": second} for first, second in findings.pairs],
        "generator": _generator(findings),
        "machine": _machine(server),
        "repeat": repeat,
    }


def environment(findings: Findings) -> dict[str, str]:
    """The variables to set: none where the default is as good, or may be."""
    if findings.best is None or findings.verdict is None or findings.verdict.kind in (AS_GOOD, OPEN):
        return {}
    return findings.best.candidate.changes(findings.default)


def html(findings: Findings, written: Mapping[str, Any]) -> str:
    """The report of `written`, a document, with its pictures."""
    default = findings.trials[0] if findings.trials else Trial(findings.default)
    best, goal = findings.best or default, findings.goal
    pictures: dict[str, str] = {}
    if findings.curve:
        pictures["cost_curve"] = plots.cost_curve(findings.curve)
    if goal and any(not probe.stopped for trial in findings.trials for probe in trial.probes):
        pictures["pareto"] = plots.pareto(findings.trials, default, best, goal)
    if findings.distributions and goal:
        pictures["distributions"] = plots.distributions(*findings.distributions, goal)
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    shown = {**written, "trials": [_shown(trial) for trial in written["trials"]]}
    return template.render(**shown, plots=pictures)


def write(directory: Path, findings: Findings, written: Mapping[str, Any]) -> tuple[Path, Path]:
    """Both files; their paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "report.html", directory / "report.json"
    paths[0].write_text(html(findings, written))
    paths[1].write_text(json.dumps(written, indent=1, allow_nan=False) + "\n")
    return paths


def terminal(written: Mapping[str, Any]) -> str:
    """The table, the verdict and the variables."""
    rows = [("settings", "predicted", "req/s", f"{written['quantile']} ms", "")]
    rows += [
        (one["label"], one["predicted"], one["rate"], one["latency"], one["ended"])
        for one in map(_shown, written["trials"])
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{row[column]:>{widths[column]}}" for column in (1, 2, 3))
        + f"  {row[4]}"
        for row in rows
    ]
    text = [line.rstrip() for line in lines] if written["trials"] else []
    text += ["", *written["verdict"]["sentences"]]
    text += written["remarks"]
    if written["environment"]:
        text += [
            "",
            *(f"export {name}={shlex.quote(value)}" for name, value in written["environment"].items()),
        ]
    return "\n".join(text)


def _shown(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's figures as text."""

    def figure(name: str) -> str:
        return "" if trial[name] is None else f"{trial[name]:.4g}"

    return {
        **trial,
        "predicted": figure("predicted"),
        "rate": figure("rate"),
        "latency": figure("latency_ms"),
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high if math.isfinite(interval.high) else None,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    a, b = curve.fit()
    return {
        "overhead_ms": curve.overhead * 1e3,
        "parallelism": curve.parallelism,
        "a_ms": a * 1e3,
        "b_ms": b * 1e3,
        "batching_may_help": curve.batching_may_help(),
        "verdict": curve.verdict(),
        "points": [
            {
                "size": point.size,
                "ms": _interval(point.seconds.scaled(1e3)),
                "speedup": _interval(point.speedup),
                "cpu_ms": point.cpu_seconds * 1e3,
                "samples": point.samples,
            }
            for point in curve.points
        ],
    }


def _trial(trial: Trial, default: Trial, best: Trial, goal: Goal | None) -> dict[str, Any]:
    latency = trial.p_at_rate(goal) if goal else None
    return {
        "label": trial.candidate.label(default.candidate),
        "variables": trial.candidate.variables(),
        "predicted": trial.predicted,
        "rate": trial.rate or None,
        "latency_ms": latency * 1e3 if latency is not None and math.isfinite(latency) else None,
        "runs": len(trial.probes),
        "ended": trial.ended,
        "best": trial is best,
        "probes": [
            {
                "rate": probe.rate,
                "due": probe.due,
                "stopped": probe.stopped,
                "kept": probe.keeps(goal) if goal else None,
                "statuses": dict(probe.statuses),
                "cpu_share": round(probe.cpu_share, 3),
                "lateness_ms": round(probe.lateness * 1e3, 3),
            }
            for probe in trial.probes
        ],
    }


def _generator(findings: Findings) -> dict[str, float]:
    kept = [
        probe
        for trial in findings.trials
        for probe in trial.probes
        if findings.goal and probe.keeps(findings.goal)
    ]
    return {
        "cpu_share": max((probe.cpu_share for probe in kept), default=0.0),
        "lateness_ms": 1e3 * max((probe.lateness for probe in kept), default=0.0),
    }


def _machine(server: str) -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "CPUs": str(machine.available_cpus()),
        "memory": f"{machine.memory_bytes() / 2**30:.1f} GiB",
        "load before the end": f"{os.getloadavg()[2]:.1f} in 15 minutes",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "tfsd": tfsd.__version__,
        "model server": server,
        **versions,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
