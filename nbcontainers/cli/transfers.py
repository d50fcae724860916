"""Images on their way, as a terminal or a page shows them: a line for each layer in Docker's words, with rate and time left."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass

from ..events import Event, Phase, Transfer, TransferFinished, TransferStarted
from ..oci.descriptor import Digest
from ..oci.reference import Reference
from . import format as form
from .console import Console
from .steps import BuildProgress

WORDS: dict[Phase, str] = {
    "waiting": "Pulling fs layer",
    "downloading": "Downloading",
    "downloaded": "Download complete",
    "extracting": "Extracting",
    "pulled": "Pull complete",
    "uploading": "Pushing",
    "pushed": "Pushed",
    "mounted": "Mounted from",
    "exists": "Already exists",
    "retrying": "Retrying in",
}
MOVING: frozenset[Phase] = frozenset({"downloading", "uploading", "extracting"})
WINDOW = 4.0  # seconds over which a rate is taken
_BAR = 30
_REDRAW = 0.1


@dataclass(slots=True)
class Row:
    """One layer as it stands."""

    phase: Phase
    done: int
    total: int | None
    detail: str


class Board:
    """What is known of the layers of one image, filled by events; ``rate`` is in bytes a second, over the network."""

    def __init__(self) -> None:
        self.name = ""
        self.pushing = False
        self.rows: dict[Digest, Row] = {}
        self.finished: TransferFinished | None = None
        self._moved: dict[Digest, int] = {}
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, event: Event, now: float | None = None) -> None:
        """Note what an event tells."""
        match event:
            case TransferStarted():
                self.name, self.pushing = event.name, event.direction == "push"
                self.rows, self.finished, self._moved = {}, None, {}
                self._samples.clear()
            case TransferFinished():
                self.finished = event
            case Transfer():
                before = self.rows.get(event.layer)
                total = event.total if event.total is not None else before.total if before else None
                self.rows[event.layer] = Row(event.phase, event.done, total, event.detail)
                if event.phase in ("downloading", "uploading", "downloaded", "pushed"):
                    self._moved[event.layer] = event.done
                    self._samples.append((time.monotonic() if now is None else now, sum(self._moved.values())))

    def rate(self, now: float | None = None) -> float:
        """How fast it goes, or 0 while nothing comes."""
        now = time.monotonic() if now is None else now
        while self._samples and now - self._samples[0][0] > WINDOW:
            self._samples.popleft()
        if len(self._samples) < 2:
            return 0.0
        (first, less), (_, more) = self._samples[0], self._samples[-1]
        return max(0, more - less) / max(now - first, 0.05)

    def left(self, now: float | None = None) -> float | None:
        """The seconds that are left at this rate; None where that cannot be told."""
        rate = self.rate(now)
        waiting = sum(
            (row.total or 0) - self._moved.get(layer, 0)
            for layer, row in self.rows.items()
            if row.phase in ("waiting", "downloading", "uploading", "retrying")
        )
        return waiting / rate if rate and waiting > 0 else None

    def pace(self, now: float | None = None) -> str:
        """Rate and time left in words; empty while nothing moves."""
        rate, left = self.rate(now), self.left(now)
        if not rate or left is None:
            return ""
        return f"{form.size(int(rate))}/s, {_clock(left)} left"


def state(row: Row, *, pushing: bool = False) -> str:
    """How a layer stands, in Docker's words."""
    match row.phase:
        case "exists":
            return "Layer already exists" if pushing else WORDS[row.phase]
        case "waiting":
            return "Preparing" if pushing else WORDS[row.phase]
        case "mounted":
            return f"{WORDS[row.phase]} {row.detail}"
        case "retrying":
            return f"{WORDS[row.phase]} {row.detail} second{'s' * (row.detail != '1')}"
        case _:
            return WORDS[row.phase]


def title(name: str, *, pushing: bool) -> str:
    """The line that the transfer of an image begins with, as Docker has it."""
    reference = Reference.parse(name)
    if pushing:
        return f"The push refers to repository [{reference.name}]"
    return f"{reference.tag or reference.digest}: Pulling from {reference.repository}"


def ending(event: TransferFinished) -> tuple[str, ...]:
    """The lines that it ends with."""
    if event.direction == "push":
        return (f"{event.name.rpartition(':')[2]}: digest: {event.digest} size: {event.size}",)
    status = f"Downloaded newer image for {event.name}" if event.fresh else f"Image is up to date for {event.name}"
    return (f"Digest: {event.digest}", f"Status: {status}")


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}" if whole >= 60 else f"{whole}s"


class TransferProgress:
    """Shows transfers on a console: bars that move on a terminal, a line for each change elsewhere; other events as builds do.

    Docker writes all of it to standard output; ``quiet`` leaves warnings only.
    """

    def __init__(self, console: Console, *, quiet: bool = False, errors: bool = False, missing: bool = False) -> None:
        self._console = console
        self._stream = console.told if errors else console.out
        self._terminal = self._stream.isatty()
        self._quiet = quiet
        self._missing = missing
        self._others = BuildProgress(console)
        self._board = Board()
        self._drawn = 0
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if not isinstance(event, TransferStarted | Transfer | TransferFinished):
            self._rub_out()
            self._others(event)
            return
        before = self._board.rows.get(event.layer) if isinstance(event, Transfer) else None
        self._board.take(event)
        if self._quiet:
            return
        match event:
            case TransferStarted():
                if self._missing:
                    self._line(f"Unable to find image '{event.name}' locally")
                self._line(title(event.name, pushing=event.direction == "push"))
            case Transfer() if self._terminal:
                moves = event.phase in MOVING and before is not None and before.phase == event.phase
                if not moves or time.monotonic() - self._last >= _REDRAW:
                    self._draw()
            case Transfer() if before is None or before.phase != event.phase:
                if event.phase not in ("extracting", "downloading", "uploading"):
                    self._line(
                        f"{event.layer.short}: {state(self._board.rows[event.layer], pushing=self._board.pushing)}"
                    )
            case TransferFinished():
                if self._terminal:
                    self._draw()
                    self._drawn = 0
                for line in ending(event):
                    self._line(line)

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def _rub_out(self) -> None:
        """Take the moving lines away, to write something where they stood."""
        if self._drawn:
            self._stream.write(f"\033[{self._drawn}A\033[J")
            self._drawn = 0

    def _draw(self) -> None:
        """Write all lines anew, over those that stand there."""
        self._last = time.monotonic()
        width, height = shutil.get_terminal_size()
        lines = [self._row(layer, row)[: width - 1] for layer, row in self._board.rows.items()]
        pace = self._board.pace()
        if len(lines) > height - 3:  # what has left the screen cannot be written over: only what moves is shown
            settled = [
                one for one in self._board.rows.values() if one.phase in ("pulled", "pushed", "exists", "mounted")
            ]
            shown = [
                self._row(layer, row)[: width - 1] for layer, row in self._board.rows.items() if row.phase in MOVING
            ]
            lines = [*shown[: max(height - 4, 1)], f"{len(settled)} of {len(lines)} layers are done"]
        if pace:
            lines.append(pace)
        up = f"\033[{self._drawn}A" if self._drawn else ""
        self._stream.write(up + "".join(f"\r\033[K{line}\n" for line in lines) + "\033[J")
        self._stream.flush()
        self._drawn = len(lines)

    def _row(self, layer: Digest, row: Row) -> str:
        text = f"{layer.short}: {state(row, pushing=self._board.pushing)}"
        if row.phase not in MOVING or not row.total:
            return text
        share = min(row.done / row.total, 1.0)
        filled = int(share * _BAR)
        bar = "=" * filled + (">" if filled < _BAR else "") + " " * (_BAR - filled - 1)
        return f"{text:<26} [{bar}]  {form.size(row.done)}/{form.size(row.total)}"
