"""The ways in which a build is told: as lines, with counts that move on a terminal, as JSON, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TextIO, cast

from ..errors import NBContainersError
from ..events import Event, Observer, StepFinished, ignore
from .console import Console
from .text import printable

KINDS = ("auto", "plain", "tty", "json", "quiet")


def kind(text: str) -> str:
    """A word of ``--progress``."""
    if text not in KINDS:
        raise NBContainersError(f"not a kind of progress: {text!r}", hint=f"known are {', '.join(KINDS)}")
    return text


def observer(kind: str, console: Console, *, explain: bool = False) -> Observer:
    """What shows a build's events on standard error; with ``explain`` also why each step was made anew.

    Raises:
        NBContainersError: ``tty`` is wanted and standard error is no terminal.

    """
    match kind:
        case "quiet":
            return ignore
        case "json":
            return lambda event: _write_json(console, event)
        case "tty" if not console.told.isatty():
            raise NBContainersError(
                "--progress tty wants a terminal, and standard error is none", hint="say --progress plain, or auto"
            )
        case "plain":
            err, told = (cast("TextIO", _Lines(stream)) for stream in (console.err, console.told))
            shown = Console(console.out, err, told)
            return _explained(shown.transfers(errors=True), shown) if explain else shown.transfers(errors=True)
        case _:
            return _explained(console.transfers(errors=True), console) if explain else console.transfers(errors=True)


def rebuilt(reason: str) -> str:
    """Why a step was made anew, as a line of its own."""
    return f"rebuilt: {printable(reason)}"


def _explained(show: Observer, console: Console) -> Observer:
    def tell(event: Event) -> None:
        show(event)
        if isinstance(event, StepFinished) and not event.cached:
            console.note(
                f"      {rebuilt(event.reason) if event.reason else 'built for the first time here'}", style="bold"
            )

    return tell


def _write_json(console: Console, event: Event) -> None:
    """One event as one line: its kind, and its fields where they have a value."""
    told: dict[str, Any] = {"event": type(event).__name__}
    for one in fields(event):
        value = getattr(event, one.name)
        if value not in (None, ""):
            told[one.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    console.note(json.dumps(told))


class _Lines:
    """A stream that is no terminal, whatever it really is: nothing moves on it and nothing is coloured."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.write: Callable[[str], int] = stream.write
        self.flush: Callable[[], None] = stream.flush

    def isatty(self) -> bool:
        return False
