"""What is known of a build while it runs and after: filled by its events, shown by a widget, as HTML or as text."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..cli import text as plain
from ..cli.progress import rebuilt
from ..cli.steps import WORK
from ..cli.terminal import Cleaner, Run, Tail, lines
from ..cli.text import excerpt, printable, shortened
from ..cli.transfers import Board
from ..errors import BuildError, DockerfileError, NBContainersError
from ..events import (
    Event,
    Output,
    Progress,
    StepFinished,
    StepStarted,
    StepStopped,
    Transfer,
    TransferFinished,
    TransferStarted,
    Warned,
)
from ..results import BuildResult, LayerStack
from . import payload
from .calm import in_notebook

TAIL = 120  # lines of a step's output that are kept
UNNAMED = re.compile(r"stage-\d+")  # what a stage without a name of its own is called
END = 40  # lines of a failed step's output that are shown

Phase = Literal["running", "done", "failed", "stopped"]


@dataclass(slots=True, kw_only=True)
class Step:
    """One step as it stands: ``seconds`` is how long it took, or takes so far."""

    number: int
    total: int
    text: str
    stage: str
    lines: tuple[int, int]
    state: Literal["running", "done", "cached", "failed", "cancelled", "stopped"] = "running"
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    reason: str = ""
    tail: Tail = field(default_factory=lambda: Tail(TAIL))

    def to_json(self) -> dict[str, Any]:
        """The step as the widget draws it."""
        seconds = time.monotonic() - self.began if self.state == "running" else self.seconds
        return {
            "number": self.number,
            "total": self.total,
            "text": payload.prose(self.text, payload.INSTRUCTION),
            "stage": "" if UNNAMED.fullmatch(self.stage) else printable(self.stage),
            "lines": self.lines,
            "state": self.state,
            "seconds": seconds,
            "reason": rebuilt(self.reason) if self.reason else "",
        }

    def output(self) -> dict[str, Any]:
        """The end of its output as the widget draws it."""
        return {"lines": self.tail.runs(), "dropped": self.tail.dropped}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a build ended: ``excerpt`` holds lines of the Dockerfile (number, text, whether it failed there)."""

    message: str
    hint: str
    excerpt: Sequence[tuple[int, str, bool]]
    output: Sequence[Sequence[Run]]

    @classmethod
    def of(cls, error: NBContainersError, dockerfile: str) -> Failure:
        """What an error says; without a place in the Dockerfile none is shown."""
        return cls(
            message=error.message,
            hint=in_notebook(error.hint),
            excerpt=excerpt(dockerfile, error.lines) if isinstance(error, BuildError | DockerfileError) else (),
            output=lines(Cleaner().feed(error.output.rstrip()))[-END:]
            if isinstance(error, BuildError) and error.output.strip()
            else (),
        )

    def to_json(self) -> dict[str, Any]:
        """The failure as the widget draws it."""
        return {
            "message": printable(self.message),
            "hint": printable(self.hint),
            "excerpt": [[number, printable(text.expandtabs(4)), marked] for number, text, marked in self.excerpt],
            "output": self.output,
        }


class Record:
    """A build as far as it is known. Events may come from one thread while another reads ``changed``."""

    def __init__(self, name: str, dockerfile: str) -> None:
        self.name = name
        self.dockerfile = dockerfile
        self.phase: Phase = "running"
        self.steps: dict[int, Step] = {}
        self.warnings: list[Warned] = []
        self.failure: Failure | None = None
        self._error: NBContainersError | None = None
        self.stack: LayerStack | None = None
        self.seconds = 0.0
        self._began = time.monotonic()
        self._moved = False
        self._work: Progress | None = None
        self._transfers = Board()
        self._spoke: set[int] = set()
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """How many steps there are, as far as is known."""
        return max((step.total for step in self.steps.values()), default=0)

    @property
    def work(self) -> str:
        """What goes on beside the steps, and how far it is; empty if nothing."""
        coming = self._transfers
        if coming.name and coming.finished is None and self.phase == "running":
            return " · ".join(filter(None, (f"pulling {coming.name}", coming.pace())))
        work = self._work
        if work is None or self.phase != "running" or (work.total is not None and work.done >= work.total):
            return ""
        return WORK.get(work.what, work.what) + (f" · {work.done / work.total:.0%}" if work.total else "")

    def take(self, event: Event) -> None:
        """Note what an event tells."""
        with self._lock:
            match event:
                case StepStarted():
                    self.steps[event.number] = Step(
                        number=event.number, total=event.total, text=event.text, stage=event.stage, lines=event.lines
                    )
                    self._moved, self._work = True, None
                case StepFinished():
                    if event.number in self.steps:
                        step = self.steps[event.number]
                        step.state = "cached" if event.cached else "done"
                        step.seconds = event.seconds
                        step.reason = event.reason
                        self._moved = True
                case StepStopped():
                    if event.number in self.steps:
                        step = self.steps[event.number]
                        step.state = "cancelled" if event.cancelled else "failed"
                        step.seconds = event.seconds
                        self._moved = True
                case Output():
                    number = event.step if event.step is not None else max(self.steps, default=0)
                    if number in self.steps:
                        self.steps[number].tail.feed(event.data)
                        self._spoke.add(number)
                case Warned():
                    self.warnings.append(event)
                case Progress():
                    self._work = event
                case TransferStarted() | Transfer() | TransferFinished():
                    self._transfers.take(event)

    def finish(self, result: BuildResult, stack: LayerStack | None) -> None:
        """The build made an image."""
        with self._lock:
            self.phase, self.seconds, self.stack = "done", result.seconds, stack
            self.name = result.image.name

    def fail(self, error: NBContainersError) -> None:
        """The build ended with an error: a step that still runs, if no event told otherwise, is the one that failed."""
        with self._lock:
            self._end("failed")
            self.failure, self._error = Failure.of(error, self.dockerfile), error

    def stop(self) -> None:
        """The build was interrupted."""
        with self._lock:
            self._end("stopped")

    def _end(self, phase: Phase) -> None:
        self.phase, self.seconds = phase, time.monotonic() - self._began
        for step in self.steps.values():
            if step.state == "running":
                step.state = "stopped" if phase == "stopped" else "failed"
                step.seconds = time.monotonic() - step.began
                self._moved = True

    def changed(self) -> tuple[bool, set[int]]:
        """Since this was last asked: whether a step began or ended, and which steps wrote something."""
        with self._lock:
            moved, spoke = self._moved, self._spoke
            self._moved, self._spoke = False, set()
            return moved, spoke

    def text(self) -> str:
        """The build as a terminal would show it: a line a step, then the layers of the image or what went wrong."""
        with self._lock:
            steps = [self.steps[number] for number in sorted(self.steps)]
            words = {
                "running": "building",
                "done": f"built in {self.seconds:.2f} s",
                "failed": "failed",
                "stopped": "stopped",
            }
            lines = [f"{printable(self.name) or 'build'}: {words[self.phase]}", *([self.work] if self.work else [])]
            for step in steps:
                time_taken = step.state if step.state != "done" else f"{step.seconds:.2f} s"
                lines.append(f"[{step.number}/{step.total}] {shortened(step.text, plain.INSTRUCTION)}   {time_taken}")
                lines += [f"      {rebuilt(step.reason)}"] if step.reason else []
            lines += [f"warning: {printable(one.told)}" for one in self.warnings]
            if self.stack:
                lines += ["", plain.layer_stack(self.stack)]
            if self._error:
                lines += ["", plain.failure(self._error, self.dockerfile)]
            return "\n".join(lines)

    def steps_json(self) -> list[dict[str, Any]]:
        """Every step, without its output."""
        with self._lock:
            return [self.steps[number].to_json() for number in sorted(self.steps)]

    def tails_json(self, numbers: Iterable[int] | None = None) -> dict[str, Any]:
        """The end of the output of these steps, or of all, by number; those that wrote nothing are left out."""
        with self._lock:
            chosen = sorted(self.steps if numbers is None else numbers)
            return {str(number): self.steps[number].output() for number in chosen if self.steps[number].tail}
