"""A build as lines, whatever its steps say at the same time."""

from __future__ import annotations

import io

from nbcontainers.cli.console import Console
from nbcontainers.cli.steps import BuildProgress
from nbcontainers.events import Event, Output, Progress, StepFinished, StepStarted, StepStopped


def lines(*events: Event) -> list[str]:
    """What stands on standard error after some events."""
    err = io.StringIO()
    progress = BuildProgress(Console(io.StringIO(), err))
    for event in events:
        progress(event)
    progress.close()
    return err.getvalue().splitlines()


def started(number: int) -> StepStarted:
    return StepStarted(number=number, total=12, text=f"RUN {number}", stage="", lines=(number, number))


def test_one_step_says_what_it_says_as_it_comes() -> None:
    """Its output stands below its line, and half a line waits for nothing."""
    told = lines(started(1), Output(data=b"ha", step=1), Output(data=b"lf", step=1))
    assert told == ["[ 1/12] RUN 1", "half"]


def test_lines_of_several_steps_are_whole_and_numbered() -> None:
    """Also those that came in pieces, were written over, or never ended."""
    told = lines(
        started(1),
        Output(data=b"alone\n", step=1),
        started(2),
        Output(data=b"on", step=1),
        Output(data=b"two\nhal", step=2),
        Output(data=b"e\n10%\r20%\r\n", step=1),
        StepFinished(number=2, cached=False, seconds=1),
        Output(data=b"still\n", step=1),
        StepFinished(number=1, cached=False, seconds=2),
    )
    assert told == [
        "[ 1/12] RUN 1",
        "alone",
        "[ 2/12] RUN 2",
        "[ 2/12] two",
        "[ 1/12] one",
        "[ 1/12] 20%",
        "[ 2/12] hal",
        "[ 2/12] 1.00 s",
        "[ 1/12] still",
        "[ 1/12] 2.00 s",
    ]


def test_work_of_several_steps_is_announced_once_each() -> None:
    """However often their counts take turns."""
    counts = [Progress(what=f"fetching {step}", done=1, total=9, step=step) for step in (1, 2)] * 3
    assert lines(started(1), started(2), *counts)[2:] == ["fetching 1 …", "fetching 2 …"]


def test_the_failed_step_is_told_from_those_that_were_cancelled() -> None:
    """A step that fails alone says so by the error that follows."""
    stopped = [StepStopped(number=1, seconds=1), StepStopped(number=2, seconds=1, cancelled=True)]
    assert lines(started(1), started(2), *stopped)[2:] == ["[ 1/12] failed after 1.00 s", "[ 2/12] cancelled"]
    assert lines(started(1), stopped[0])[1:] == []
