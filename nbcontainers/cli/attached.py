"""Between a person's terminal and a program in a container: keys, window, signals, output, exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from ..engine import Container, kinds
from ..engine.options import detach_keys
from ..errors import Conflict, Detached, NBContainersError
from ..events import Event, Observer, Output
from ..results import ENDED_FOR
from . import format as form
from .console import Console
from .flags import Flag, UsageError

if TYPE_CHECKING:
    from types import FrameType


def _stream(word: str) -> str:
    """The name of a standard stream, in any case."""
    return kinds.streams([word.lower()])[0]


DETACH_KEYS = "ctrl-p,ctrl-q"
KEYS = Flag(
    names=("--detach-keys",), metavar="KEYS", convert=detach_keys, help=f"the keys that let go of it ({DETACH_KEYS})"
)
SIG_PROXY = Flag(names=("--sig-proxy",), default=True, help="send it the signals that this program gets (true)")
STREAMS = Flag(
    names=("-a", "--attach"),
    metavar="STREAM",
    many=True,
    convert=_stream,
    help="only stdin, stdout or stderr (else all that there are)",
)
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PARTING = (signal.SIGTERM, signal.SIGHUP)  # what ends a client alone; without sig-proxy an interrupt does, too
_PATIENCE = 3  # signals that ask for an end: after so many the container is ended, as docker gives up


class Program(Protocol):
    """What can be attached to: a container, or a command in one."""

    def attach(self, on_event: Observer = ..., *, stdin: BinaryIO | int | None = None, detach_keys: str = "") -> int:
        """Stream until it ends."""

    def resize(self, rows: int, columns: int) -> None:
        """The window has another size."""


def streams(words: Sequence[str], *, interactive: bool, detach: bool) -> frozenset[str]:
    """The streams that are to be passed on: those that were named, else output, and input if it is open."""
    if words and detach:
        raise UsageError("both --attach and --detach", hint="leave one of them out")
    if "stdin" in words and not interactive:
        raise NBContainersError("--attach stdin without --interactive", hint="-i keeps standard input open")
    return frozenset(words or ({"stdout", "stderr", "stdin"} if interactive else {"stdout", "stderr"}))


def require_terminal(values: Any) -> None:
    """``-it`` needs a terminal to read from: NBContainersError where there is none."""
    if values.tty and values.interactive and not values.detach and not os.isatty(_standard_input()):
        raise UsageError(
            "the input device is not a TTY", hint="-t alone gives the program a terminal, -i alone reads from a pipe"
        )


def _standard_input() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # a notebook has none
        return -1


def follow(
    container: Container,
    console: Console,
    *,
    stdin: bool = False,
    detach_keys: str = "",
    proxy: bool = True,
    streams: frozenset[str] = frozenset(("stdout", "stderr")),
) -> int:
    """Show a container's output until it ends, and say why if it did not end by itself. 0 once it was let go of."""
    terminal = container.spec.process.terminal
    try:
        parting = _PARTING if proxy else (signal.SIGINT, *_PARTING)
        with proxied(container, console) if proxy and not terminal else leaving(container, console, parting):
            code = converse(
                container, console, stdin=stdin, terminal=terminal, detach_keys=detach_keys, streams=streams
            )
    except Detached:
        return 0
    ended = container.last_state
    if ended is not None and ended.out_of_memory:
        limit = container.spec.resources.memory
        console.note(
            f"{ended.name} ran out of memory" + (f": its limit is {form.binary_size(limit)}" if limit else ""),
            style="red",
        )
    elif ended is not None and ended.error.startswith(ENDED_FOR):
        console.note(f"{ended.name} was {ended.error}", style="red")
    return code


def converse(
    program: Program,
    console: Console,
    *,
    stdin: bool,
    terminal: bool,
    detach_keys: str = "",
    streams: frozenset[str] = frozenset(("stdout", "stderr")),
) -> int:
    """Pass on what is typed and what is written until the program ends: its exit code. Detached once it was let go of."""
    source = sys.stdin.buffer if stdin else None
    keys = (detach_keys or DETACH_KEYS) if stdin and terminal else ""

    def write(event: Event) -> None:
        if isinstance(event, Output) and event.stream not in streams:
            return
        try:
            console.write(event)
        except OSError as error:
            # Its terminal was closed. A signal that says so comes later, or never where a shell does not pass it on.
            if terminal and error.errno == errno.EIO:
                raise Detached("the container goes on by itself") from error
            raise

    with window(program, raw=stdin) if terminal else contextlib.nullcontext():
        return program.attach(write, stdin=source, detach_keys=keys)


@contextlib.contextmanager
def window(program: Program, *, raw: bool) -> Iterator[None]:
    """While it lasts, keys go to the program one by one and unechoed (``raw``), and it knows the size of the window."""
    number = _standard_input()
    is_mine = os.isatty(number) if number >= 0 else False
    saved = termios.tcgetattr(number) if raw and is_mine else None

    def resize(*_: object) -> None:
        try:
            size = os.get_terminal_size(number)
            program.resize(size.lines, size.columns)
        except Detached:  # a signal came meanwhile
            raise
        except (OSError, NBContainersError):
            pass

    before: Any = None
    watches = is_mine and threading.current_thread() is threading.main_thread()
    try:
        if watches:
            before = signal.signal(signal.SIGWINCH, resize)
            resize()
        if saved is not None:
            tty.setraw(number, termios.TCSANOW)
        yield
    finally:
        if saved is not None:
            termios.tcsetattr(number, termios.TCSADRAIN, saved)
        if watches:
            signal.signal(signal.SIGWINCH, before)


def _gets_signals(console: Console) -> bool:
    """Whether signals to this process are meant for what it shows, and can be heard: not in a kernel, nor in a further thread."""
    return console.is_whole_program and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def proxied(container: Container, console: Console) -> Iterator[None]:
    """While it lasts, signals to this program go to the container's, if it handles them.

    One that it does not handle would be lost (the kernel keeps it from a first process): then an interrupt interrupts this
    program, which stops the container, and the others do what they always do.
    """
    if not _gets_signals(console):
        yield
        return
    asked = 0

    def send(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += number in (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(NBContainersError):
            if asked < _PATIENCE and container.handles(number):
                with contextlib.suppress(Conflict):
                    container.kill(number)
                return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, send) for number in _PROXIED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def leaving(container: Container, console: Console, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """While it lasts, these signals end this program alone: the container goes on by itself, as after the keys that let go of it.

    Those that whoever started this program had it ignore, as nohup does, stay so.
    """
    if not _gets_signals(console):
        yield
        return
    got = 0

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal got
        got = number
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # nothing comes between this one and the leave
        raise Detached("the container goes on by itself")

    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, leave)
        yield
    except Detached:
        container.leave()  # who attaches to it has done so, if it came to that
        raise
    finally:  # a terminal that is closed may have made an error of it
        for number, handler in before.items():
            signal.signal(number, handler)
        if got:
            signal.signal(got, signal.SIG_DFL)
            signal.raise_signal(got)
