"""Something that is done again and again in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pulse:
    """Calls a function every so many seconds until it is stopped."""

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act = act
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbcontainers-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it: the function is not called any more when this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._act()
