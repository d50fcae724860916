"""Interrupts while a build cleans up after one: the first ends the build, and what comes meanwhile has nothing left to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ..store import stopping

_taken: list[bool] = []  # for each block that the main thread is in, whether an interrupt was let through


def check() -> None:
    """KeyboardInterrupt, where one was let through and has not ended the block: Python drops those that hit a finalizer.

    For the work itself, between its steps; whoever cleans up after an interrupt does not ask.
    """
    if _taken and _taken[-1] and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@contextlib.contextmanager
def one() -> Iterator[None]:
    """Let one interrupt through to the block; an impatient second one would end only the cleaning up.

    Only the main thread is ever interrupted; elsewhere, and where SIGINT is not for Python, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    depth = len(_taken)

    def take(number: int, frame: FrameType | None) -> None:
        if _taken[depth] or stopping.whole.put_off():
            return
        try:
            before(number, frame)
        except BaseException:
            _taken[depth] = True
            raise

    _taken.append(False)
    try:
        signal.signal(signal.SIGINT, take)
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        del _taken[depth:]
