"""A build as lines: the steps that go on at the same time tell their lines apart by their numbers."""

from __future__ import annotations

from ..events import Event, Output, Progress, StepFinished, StepStarted, StepStopped, Warned
from . import format as form
from .console import Console
from .text import printable

WORK = {"toolbox": "making the offline base from this host's programs"}
_LONGEST = 4096  # bytes of a line whose end is waited for


class BuildProgress:
    """Tells a build as it goes: a line a step, its output below it, then how long it took.

    While several steps go on, each whole line has its step's number before it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = False  # whether the cursor stands in the middle of a line of output
        self._counting = ""  # the work whose progress stands on the cursor's line, or was announced
        self._announced: set[tuple[int | None, str]] = set()
        self._running: set[int] = set()
        self._total = 0
        self._last: int | None = None  # the step that the line above is of
        self._rests: dict[int, bytes] = {}  # lines that have not ended

    def __call__(self, event: Event) -> None:
        """Show one event."""
        console = self._console
        if not isinstance(event, Progress):
            self._end_progress()
        match event:
            case StepStarted():
                self._end_line()
                self._running.add(event.number)
                self._total, self._last = event.total, event.number
                console.note(f"{self._number(event.number)} {console.styled(printable(event.text), 'bold')}")
            case StepFinished():
                self._end_step(event.number)
                words = "cached" if event.cached else f"{event.seconds:.2f} s"
                console.note(self._beside(event.number) + words, style="green" if event.cached else "dim")
                self._last = event.number
            case StepStopped():
                self._end_step(event.number)
                words = "cancelled" if event.cancelled else f"failed after {event.seconds:.2f} s"
                if event.cancelled or event.number != self._last:
                    console.note(self._beside(event.number) + words, style="dim")
                self._last = event.number
            case Output():
                self._show_output(event)
            case Warned():
                self._end_line()
                console.note(f"warning: {event.told}" + (f" ({event.hint})" if event.hint else ""), style="yellow")
            case Progress():
                self._show_progress(event)

    def close(self) -> None:
        """Leave the cursor at the beginning of a line."""
        self._end_progress()
        self._end_line()

    def _number(self, number: int) -> str:
        return self._console.styled(f"[{number:>{len(str(self._total))}}/{self._total}]", "dim")

    def _beside(self, number: int) -> str:
        """What a line of a step begins with: blanks below its own line, else its number."""
        return "      " if number == self._last else f"{self._number(number)} "

    def _show_output(self, event: Output) -> None:
        step = event.step
        if step is not None and (self._running != {step} or step != self._last):
            *lines, rest = (self._rests.pop(step, b"") + event.data).split(b"\n")
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            if rest:
                self._rests[step] = rest
            self._show_lines(step, lines)
            return
        text = event.data.decode(errors="replace")
        if step is not None and step in self._rests:
            text = self._rests.pop(step).decode(errors="replace") + text
        console = self._console
        console.told.write(console.styled(text, "dim") if console.colours else text)
        console.told.flush()
        self._open = not text.endswith("\n")

    def _show_lines(self, step: int, lines: list[bytes]) -> None:
        """Whole lines of one step among others: of a line that was written over and over, what stood there last."""
        for line in lines:
            self._end_line()
            self._last = None
            text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
            self._console.told.write(f"{self._number(step)} {self._console.styled(text, 'dim')}\n")
        self._console.told.flush()

    def _show_progress(self, event: Progress) -> None:
        """On a terminal a line that counts; elsewhere one that says what begins."""
        told, share = self._console.told, f"{event.done / event.total:.0%}" if event.total else form.size(event.done)
        if told.isatty():
            self._end_line()
            told.write(f"\r\033[K{WORK.get(event.what, event.what)}: {share}")
            told.flush()
        elif event.what != self._counting and (event.step is None or (event.step, event.what) not in self._announced):
            self._end_line()
            self._console.note(f"{WORK.get(event.what, event.what)} …", style="dim")
            self._announced.add((event.step, event.what))
        self._counting = event.what

    def _end_progress(self) -> None:
        if self._counting and self._console.told.isatty():
            self._console.told.write("\r\033[K")
        self._counting = ""

    def _end_step(self, number: int) -> None:
        if number in self._rests:
            self._show_lines(number, [self._rests.pop(number)])
        self._end_line()
        self._running.discard(number)

    def _end_line(self) -> None:
        if self._open:
            self._console.told.write("\n")
            self._open = False
