"""Waiting for what comes true by itself, with more patience than a busy machine needs, and measuring what is to be quick."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0
HICCUP_S = 2.0  # for which a machine may stand still without counting it: more than ``clock`` says something may take
_LOOK_AGAIN_S = 0.01


def until(holds: Callable[[], T]) -> T:
    """Wait until something is true and return it; what is not there yet, or not any more (OSError), is not true."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            if found := holds():
                return found
        assert time.monotonic() < deadline, f"it did not come true in {PATIENCE_S:.0f} seconds"
        time.sleep(_LOOK_AGAIN_S)


def clock() -> float:
    """Seconds of a clock that stands still while this machine lets somebody wait for a processor, a disk or memory.

    So what it says that something took is what it takes on a machine with nothing else to do, or less. Where the kernel does not
    count who waits (CONFIG_PSI), the clock stands always. Source: the kernel's Documentation/accounting/psi.rst.
    """
    waited = 0
    for what in ("cpu", "io", "memory"):
        try:
            with open(f"/proc/pressure/{what}") as file:
                waited += int(file.readline().rpartition("total=")[2])
        except OSError:
            return 0.0
    return time.monotonic() - waited / 1e6
