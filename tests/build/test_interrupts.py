"""A build that is interrupted at any instant: it stops at once, leaves nothing, and what it had finished is in the cache."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from nbcontainers.events import StepFinished
from tests.build.conftest import Builder
from tests.build.test_solver import unique
from tests.machine import mounts
from tests.waiting import HICCUP_S, clock, until

TEXT = """FROM busybox AS first
COPY a /a
RUN echo {word}; sleep 0.05; echo x > /made
FROM busybox AS second
RUN echo {word} second; sleep 0.1; echo y > /made
FROM busybox
WORKDIR /w/{word}
COPY --from=first /made /made
COPY --from=second /made /other
RUN cat /made; sleep 30 # {word}
"""
INSTANTS = 30
WITHIN = 1.0  # seconds


@pytest.fixture
def alarm() -> Iterator[list[float]]:
    """An alarm interrupts as the interrupt button does; when it went off."""
    rung: list[float] = []

    def ring(number: int, frame: FrameType | None) -> None:
        rung.append(clock())
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ring)
    yield rung
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def left_running(word: str) -> list[str]:
    """Commands with this word in them that still run, wherever."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if word.encode() in (place / "cmdline").read_bytes():
                    found.append(place.name)
            except OSError:
                continue
    return found


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # a file open, and its "with" not yet begun
def test_an_interrupt_at_any_instant(builder: Builder, alarm: list[float]) -> None:
    """No container, snapshot, lease or temporary file is left, and each step that was told as finished is in the cache."""
    builder.write({"a": unique()})
    before = mounts()
    took: list[float] = []
    for instant in range(INSTANTS):
        word = unique()
        text = TEXT.format(word=word)
        alarm.clear()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the alarm may go off before the build begins
            signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.6 * (instant / INSTANTS) ** 1.5)
            builder.build(text)
        took.append(clock() - alarm[0])
        finished = [event.number for event in builder.events if isinstance(event, StepFinished)]
        assert builder.left() == [], f"after {instant} of {INSTANTS}"
        assert left_running(word) == []
        builder.build(text.replace("sleep 30", "true"))
        assert all(builder.cached[number - 1] for number in finished)
    until(lambda: mounts() <= before)
    assert max(took) < WITHIN + HICCUP_S
