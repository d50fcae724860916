"""Interrupts while a build cleans up after one: the first ends the build, and what comes meanwhile has nothing left to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def one() -> Iterator[Callable[[], None]]:
    """Let one interrupt through to the block; an impatient second one would end only the cleaning up.

    The block gets a function that raises KeyboardInterrupt if one came and the block still goes on: Python drops an exception that
    is raised in a destructor, and a signal may come just then. Only the main thread is ever interrupted; elsewhere, and where SIGINT
    is not for Python, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: None
        return
    is_through = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal is_through
        if is_through:
            return
        try:
            before(number, frame)
        except BaseException:
            is_through = True
            raise

    def check() -> None:
        if is_through:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, take)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
