"""What whoever watches the terminal sees of transform jobs."""

from __future__ import annotations

import io

from tfsd.sagemaker.transform.progress import Display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_than_on_a_terminal_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    job = Display(stream, clock).job("j")
    job.started(3)
    clock.now += 5
    job.sending()
    for _ in range(22):
        clock.now += 1
        job.records(50)
    job.object_done(failed=False)
    job.object_done(failed=True)
    job.ended("Failed")
    assert stream.getvalue().splitlines() == [
        "Transform job j: 3 objects.",
        "Transform job j: 0/3 objects, 250 records, 50 records/s, 0 errors.",
        "Transform job j: 0/3 objects, 750 records, 50 records/s, 0 errors.",
        "Transform job j: Failed, 2/3 objects, 1100 records, 50 records/s, 1 errors.",
    ]


def test_a_bar_for_each_job_on_a_terminal_and_none_when_all_have_ended() -> None:
    clock, stream = Clock(), Terminal()
    display = Display(stream, clock)
    display.console.size = display.console.size.__class__(120, 25)
    jobs = [display.job("one"), display.job("two")]
    for job in jobs:
        job.started(2)
        job.sending()
    clock.now += 1
    jobs[0].object_done(failed=False)
    clock.now += 1
    jobs[0].records(1000)
    shown = stream.getvalue()
    assert "one" in shown
    assert "1/2 objects" in shown
    assert "1000 records, 500 records/s, 0 errors" in shown
    for job in jobs:
        job.ended("Completed")
    assert not display.bars.live.is_started
    assert "Transform job one: Completed, 1/2 objects, 1000 records" in stream.getvalue()


def test_a_log_line_on_a_terminal_stays_one_line() -> None:
    stream = Terminal()
    display = Display(stream)
    display.console.size = display.console.size.__class__(20, 25)
    text = "2030-01-01 sagemaker INFO Endpoint [digits] is in service after 5.1 s."
    display.stream.write(text[:30])
    display.stream.write(f"{text[30:]}\nanother\n")
    assert stream.getvalue() == f"{text}\nanother\n"


def test_a_job_that_never_started_only_says_so() -> None:
    stream = io.StringIO()
    Display(stream).job("j").ended("Failed")
    assert stream.getvalue() == "Transform job j: Failed, 0/0 objects, nothing sent.\n"
