"""The report of a tuning over simulated servers: one file, no outside reference, and figures that are JSON."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tfsd.tuner import plots, report, verdict
from tfsd.tuner.bodies import Bodies
from tfsd.tuner.candidate import Batching, Candidate
from tfsd.tuner.goal import Goal
from tfsd.tuner.load import Request
from tfsd.tuner.progress import Progress
from tfsd.tuner.trials import Trial, measure
from tfsd.tuner.tuning import Findings
from unit.tuner.simulated import DEFAULT, Machine, SimulatedServer

GOAL = Goal(0.99, 0.2)
BEST = Candidate(Batching(16, 2000, 1, 100), 1, 2)


@pytest.fixture(scope="module")
def findings() -> Findings:
    machine = Machine(0.02, 0.001)
    trials = [Trial(DEFAULT, 30.0), Trial(BEST, 400.0)]
    servers = [SimulatedServer(machine.costs, trial.candidate) for trial in trials]
    for trial, server in zip(trials, servers, strict=True):
        measure(trial, server, GOAL, 30, 10)
    found = Findings(
        DEFAULT,
        bodies=Bodies((Request(b"{}"),), "a file <of bodies>"),
        goal=GOAL,
        idle_seconds=0.021,
        curve=machine.curve(),
        trials=trials,
        best=trials[1],
        pairs=[(30.0, 300.0 + number) for number in range(5)],
        distributions=(servers[0].probe(20, 10), servers[1].probe(20, 10)),
        remarks=["Strings are empty."],
        seconds=12.0,
    )
    found.verdict = verdict.judge(trials[0], trials[1], found.pairs, found.curve, True)
    return found


def test_both_files(findings: Findings, tmp_path: Path) -> None:
    written = report.document(findings, "my/model", "bin/local tune my/model", "embedded")
    page, document = report.write(tmp_path / "new" / "directory", findings, written)
    read = json.loads(document.read_text())
    assert read == json.loads(json.dumps(written))
    assert read["environment"]["SAGEMAKER_TFS_MAX_BATCH_SIZE"] == "16"
    assert read["generator"]["cpu_share"] == pytest.approx(0.1)
    assert {"processor", "CPUs", "model server", "numpy"} <= read["machine"].keys()
    assert read["verdict"]["kind"] == "better"
    assert [trial["label"] for trial in read["trials"]] == ["default", "batches of 16, 2 ms, 1 thread"]
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "a file &lt;of bodies&gt;" in text
    assert "SAGEMAKER_TFS_ENABLE_BATCHING=true" in text
    assert "bin/local tune my/model" in text
    assert len(re.findall(r"<tr><td>\d</td>", text)) == len(findings.pairs)
    outside = [url for url in re.findall(r"https?://[^\"'\s<>]+", text) if "w3.org" not in url]
    assert outside == []  # names of XML's namespaces are no references
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", text)


def test_pictures_are_well_formed_and_repeatable(findings: Findings) -> None:
    assert findings.curve is not None
    assert findings.distributions is not None
    default, best = findings.trials
    pictures = [
        (
            plots.cost_curve(findings.curve),
            plots.pareto(findings.trials, default, best, GOAL),
            plots.distributions(*findings.distributions, GOAL),
        )
        for _ in range(2)
    ]
    assert pictures[0] == pictures[1]
    for svg in pictures[0]:
        ET.fromstring(svg)


def test_pareto_front_leaves_out_what_others_beat() -> None:
    points = [(10.0, 5.0), (20.0, 6.0), (15.0, 9.0), (30.0, 20.0), (5.0, 5.5)]
    assert plots.pareto_front(points) == [(10.0, 5.0), (20.0, 6.0), (30.0, 20.0)]


def test_terminal_shows_trials_verdict_and_variables(findings: Findings) -> None:
    text = report.terminal(report.document(findings, "m", "bin/local tune m", "embedded"))
    assert re.search(r"^default +30 ", text, re.MULTILINE)
    assert "export SAGEMAKER_TFS_ENABLE_BATCHING=true" in text
    assert "times as many requests as the default" in text
    assert "Strings are empty." in text


def test_a_report_of_nothing_is_a_report(tmp_path: Path) -> None:
    found = Findings(DEFAULT, ended="it was interrupted")
    found.verdict = verdict.judge(Trial(DEFAULT), Trial(DEFAULT), [], None, False)
    written = report.document(found, "m", "bin/local tune m", "embedded")
    report.write(tmp_path, found, written)
    assert "it was interrupted" in (tmp_path / "report.html").read_text()
    assert "Nothing was measured" in report.terminal(written)


def test_where_the_default_is_as_good_there_is_nothing_to_paste(findings: Findings) -> None:
    assert report.environment(Findings(DEFAULT, best=Trial(DEFAULT))) == {}


def test_progress_says_what_is_tried_and_what_is_left() -> None:
    now = [0.0]
    stream = io.StringIO()
    with Progress(100, stream, clock=lambda: now[0]) as progress:
        now[0] = 25.0
        progress.tell("default settings")
        progress.tell("default settings")
        now[0] = 130.0
        progress.tell("pairs")
        assert progress.left() == 0
        progress.begin()
        assert progress.left() == 100
    assert stream.getvalue().splitlines() == [
        "bin/local: [#####...............] 1:15 left, default settings",
        "bin/local: [####################] 0:00 left, pairs",
    ]
