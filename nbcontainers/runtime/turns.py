"""Starts that are wanted at once take turns: each keeps a processor busy, and many beside each other only hinder each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .crew import at_once

_STUCK_S = 0.1


class Turns:
    """How many threads of an engine start containers beside each other."""

    def __init__(self, most: int = 0, *, stuck_s: float = _STUCK_S) -> None:
        """``most`` at once; 0 stands for what suits the processors that this process may use. Where none of them ends for ``stuck_s``
        seconds, others are not kept waiting.
        """
        self._stuck_s = stuck_s
        self._free = threading.Semaphore(most or at_once())
        self._next = threading.Lock()
        self._ended = 0
        self._stuck = -1  # how many had ended when a turn was last waited for in vain

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a turn and have it. No longer than others' starts come to an end: one that waits for something holds up nobody."""
        # Of those who wait one looks at the clock: for each look he takes the interpreter from who has a turn.
        with self._next:
            has_one = self._free.acquire(blocking=False)
            while not has_one and self._stuck != self._ended:
                ended = self._ended
                has_one = self._free.acquire(timeout=self._stuck_s)
                if not has_one and ended == self._ended:
                    self._stuck = ended
        try:
            yield
        finally:
            self._ended += 1
            if has_one:
                self._free.release()
