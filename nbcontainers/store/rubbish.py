"""What nobody wants any more, moved to ROOT/trash at once and removed when nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import NBContainersError

_TRIES = 3  # a shim that had a folder open may put a last file into it


class Rubbish:
    """The way to the trash of one store, with a thread that empties it; what a killed process leaves there goes with the next collection.

    A file costs the kernel some 20 µs to remove and, where a disk is told at once what it need not keep, a wait for the disk.
    """

    _owner: int
    _mutex: threading.Lock
    _waiting: queue.SimpleQueue[Path | None]
    _thread: threading.Thread | None

    def __init__(self, root: Path, discard: Callable[[Path], object]) -> None:
        self._trash = root / "trash"
        self._discard = discard
        self._begin()

    def take(self, path: str) -> None:
        """Have a file or folder removed: it is gone from where it was when this returns. Nothing if it is not there."""
        aside = self._trash / secrets.token_hex(16)
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        except OSError:  # as where a full disk has no room for another name
            self._remove(Path(path))
            return
        if self._owner != os.getpid():
            self._begin()
        with self._mutex:
            self._waiting.put(aside)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, args=(self._waiting,), daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait until all of it has been removed."""
        if self._owner != os.getpid():
            return
        with self._mutex:
            thread, self._thread = self._thread, None
            self._waiting.put(None)
            self._waiting = queue.SimpleQueue()
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        """In a process that has no such thread: a forked one has none but that which forked."""
        self._owner = os.getpid()
        self._mutex = threading.Lock()
        self._waiting = queue.SimpleQueue()
        self._thread = None

    def _work(self, waiting: queue.SimpleQueue[Path | None]) -> None:
        while (path := waiting.get()) is not None:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(OSError, NBContainersError):  # what stays goes with the next collection
                self._discard(path)
                return
