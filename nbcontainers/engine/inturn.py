"""Whoever leads one container through its life takes turns: starts have it alone, and stops share it.

So a start never meets another one, nor a stop that takes what has just begun for what was to end; and who stops a container hears how
that run ended, before another one begins. The kernel keeps the turns, on files that a container has anyway: they hold between threads
as between processes, and one ends with its holder, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import asked, kept

# Who keeps a turn for longer was stopped in it, by ctrl-z say: then the shims alone keep two runs apart.
_PATIENCE_S = 15.0
_SOON_S, _LATER_S = 0.001, 0.016


def alone(folder: Path, *, waiting: Callable[[], object] = lambda: None) -> contextlib.AbstractContextManager[None]:
    """Have the turn of the container in a folder, once all others are done with theirs.

    ``waiting`` is called now and then while it is waited for, and what that raises ends it.
    """
    return _turn(folder, fcntl.LOCK_EX, waiting)


def beside(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Have it together with all who want it so: while one stops a container patiently, another one may hurry."""
    return _turn(folder, fcntl.LOCK_SH, lambda: None)


@contextlib.contextmanager
def _turn(folder: Path, kind: int, waiting: Callable[[], object]) -> Iterator[None]:
    deadline = time.monotonic() + _PATIENCE_S
    # Who is next has others wait behind him: stops that come one after another would leave no room for a start. ``update`` writes
    # that file anew, and then two are next for once; nobody ever replaces the one to which the turn belongs.
    with (
        _locked(f"{folder}/{kept.CONFIG}", fcntl.LOCK_EX, deadline, waiting) as next_one,
        _locked(f"{folder}/{asked.NAME}", kind, deadline, waiting),
    ):
        next_one.close()
        yield


@contextlib.contextmanager
def _locked(path: str, kind: int, deadline: float, waiting: Callable[[], object]) -> Iterator[contextlib.ExitStack]:
    """Hold a lock on a file from when it can be had, or the deadline, until the end or until what is given is closed."""
    with contextlib.ExitStack() as held:
        # It is closed even where an interrupt keeps it from what comes next.
        try:
            file = held.enter_context(io.FileIO(path))
        except FileNotFoundError:  # it was removed, or is damaged, as the one who wants the turn will hear
            yield held
            return
        pause = _SOON_S
        # Not in the kernel: there a thread could not be interrupted, nor lose its patience.
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            waiting()
            time.sleep(pause)
            pause = min(2 * pause, _LATER_S)
        held.callback(fcntl.flock, file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file open, too
        yield held
