"""The pictures of a report, as SVG to be put into HTML. Draws only; every figure comes from `Findings`."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from tfsd.tuner.curve import Curve
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import Probe
from tfsd.tuner.trials import Trial

HIGHEST = 30  # latencies beyond so many times the goal are of no interest
SIZE = (7.2, 4.0)  # inches
BLUE, ORANGE, GREY, RED = "#1f5fa8", "#d9730d", "#8a8f98", "#b3261e"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in a font of the reader's
    "svg.hashsalt": "tfsd",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
}


def cost_curve(curve: Curve) -> str:
    """Milliseconds of a call against requests in it, with the fitted line and what n calls would take."""

    def draw(axes: Axes) -> None:
        sizes = np.array([point.size for point in curve.points])
        values = np.array([point.seconds.value for point in curve.points]) * 1e3
        low = np.array([point.seconds.low for point in curve.points]) * 1e3
        high = np.array([point.seconds.high for point in curve.points]) * 1e3
        axes.plot(sizes, sizes * values[0], "--", color=GREY, label="one by one: n × t(1)")
        a, b = curve.fit()
        axes.plot(
            sizes, (a + b * sizes) * 1e3, color=ORANGE, label=f"fit: {a * 1e3:.3g} + {b * 1e3:.3g} n ms"
        )
        axes.errorbar(
            sizes,
            values,
            yerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)],
            fmt="o",
            color=BLUE,
            capsize=3,
            markersize=5,
            label="measured, 95 % interval",
        )
        cpu = np.array([point.cpu_seconds for point in curve.points]) * 1e3
        if cpu.max() > 0:
            axes.plot(sizes, cpu, "x", color=RED, markersize=5, label="CPU of the model server")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.minorticks_off()
        _labelled(axes.yaxis)
        axes.set_xlabel("requests in one call")
        axes.set_ylabel("milliseconds")
        axes.legend(frameon=False)

    return _drawn(draw)


def pareto(trials: Sequence[Trial], default: Trial, best: Trial, goal: Goal) -> str:
    """Requests a second against the goal's quantile of latency: every run that ended, and their Pareto front."""

    def draw(axes: Axes) -> None:
        front = pareto_front([point for trial in trials for point in _points(trial, goal)])
        for trial, color, label, size in (
            *(
                (trial, GREY, "" if number else "other settings", 22)
                for number, trial in enumerate(
                    trial for trial in trials if trial is not default and trial is not best
                )
            ),
            (default, BLUE, "default", 34),
            *(((best, ORANGE, "best", 34),) if best is not default else ()),
        ):
            points = _points(trial, goal)
            if points:
                rates, milliseconds = zip(*points, strict=True)
                axes.scatter(rates, milliseconds, s=size, color=color, label=label or None, zorder=3)
        if front:
            axes.step(*zip(*front, strict=True), where="post", color=GREY, lw=1, label="Pareto front")
        axes.axhline(goal.seconds * 1e3, color=RED, lw=1)
        axes.annotate(
            f"goal: {goal}",
            (0.01, goal.seconds * 1e3),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color=RED,
            fontsize=9,
        )
        axes.set_yscale("log")
        _labelled(axes.yaxis, "2357")
        axes.set_xlim(left=0)
        axes.set_ylim(top=min(axes.get_ylim()[1], goal.seconds * 1e3 * HIGHEST))
        axes.set_xlabel("requests a second")
        axes.set_ylabel(f"p{goal.quantile * 100:g} in milliseconds")
        axes.legend(frameon=False)

    return _drawn(draw)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those points (rate, latency) to which no other has both a higher rate and a lower latency, by ascending rate."""
    front: list[tuple[float, float]] = []
    lowest = math.inf
    for rate, latency in sorted(points, key=lambda point: (-point[0], point[1])):
        if latency < lowest:
            lowest = latency
            front.append((rate, latency))
    return front[::-1]


def distributions(default: Probe, best: Probe, goal: Goal) -> str:
    """The share of requests that took longer than so many milliseconds: default against best at the same rate."""

    def draw(axes: Axes) -> None:
        for probe, color, label in ((default, BLUE, "default"), (best, ORANGE, "best")):
            answered = probe.latencies[np.isfinite(probe.latencies)] * 1e3
            shares = 100 * (1 - np.arange(len(answered)) / max(len(probe.latencies), 1))
            axes.step(answered, shares, where="post", color=color, label=label)
        axes.axvline(goal.seconds * 1e3, color=RED, lw=1, label=f"goal: {goal}")
        axes.axhline(100 * (1 - goal.quantile), color=RED, lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        _labelled(axes.xaxis)
        _labelled(axes.yaxis)
        axes.set_xlabel(f"latency in milliseconds, at {default.rate:.4g} requests a second")
        axes.set_ylabel("% of requests that take longer")
        axes.legend(frameon=False)

    return _drawn(draw)


def _labelled(axis: Axis, digits: str = "25") -> None:
    """Numbers at 1 and so many more of each decade of a logarithmic axis, which may span less than a decade."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")


def _points(trial: Trial, goal: Goal) -> list[tuple[float, float]]:
    """(rate, latency in ms) of the runs that went to their end."""
    found = [(probe.rate, probe.quantile(goal.quantile) * 1e3) for probe in trial.probes if not probe.stopped]
    return [point for point in found if math.isfinite(point[1])]


def _drawn(draw: Callable[[Axes], None]) -> str:
    """An <svg> element without anything that refers to elsewhere."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(
            text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
