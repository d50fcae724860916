"""What nobody wants any more, moved to ROOT/trash at once and removed when nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..errors import NBContainersError

_TRIES = 3  # a shim that had a folder open may put a last file into it
_IDLE_S, _OLDEST_S = 60.0, 300.0
MOST = 2000  # small trees that wait for that
_BREATH_S, _LONGEST_S = 0.02, 1.0  # how long one waits for more that comes, and for all of it
_FEW, _SMALL = 32, 128  # entries, and blocks of 512 bytes of each
_ROOM, _INODES = 256 << 20, 10_000  # with less (in bytes) that is free, the next thing may need what this one leaves


class Rubbish:
    """The way to the trash of one store, with a thread that empties it; what a killed process leaves there goes with the next collection.

    A file costs the kernel some 20 µs to remove and, where a disk is told at once what it need not keep, a wait for the disk; and an
    ext4 without a journal does not give its number to another for minutes, so that each new file looks through all those. So what is
    little, as most containers are, is removed when nothing has come for a minute. Source: recently_deleted in fs/ext4/ialloc.c.
    """

    _owner: int
    _mutex: threading.Lock
    _waiting: queue.SimpleQueue[str | None]
    _thread: threading.Thread | None

    def __init__(self, root: Path, discard: Callable[[Path], object]) -> None:
        self._trash = f"{root}/trash"
        self._discard = discard
        self._begin()

    def take(self, path: str) -> None:
        """Have a file or folder removed: it is gone from where it was when this returns. Nothing if it is not there.

        Where little is free, all that lies in the trash is removed when this returns.
        """
        aside = f"{self._trash}/{secrets.token_hex(16)}"
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        except OSError:  # as where a full disk has no room for another name
            self._remove(path)
            return
        if self._owner != os.getpid():
            self._begin()
        with self._mutex:
            self._waiting.put(aside)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, args=(self._waiting,), daemon=True)
                self._thread.start()
        if _is_tight(self._trash):
            self.close()

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

    def _work(self, waiting: queue.SimpleQueue[str | None]) -> None:
        little: deque[str] = deque()
        latest = 0.0  # when that is removed, whatever comes
        is_ending = False
        while not is_ending:
            came = _arrivals(waiting, _IDLE_S if little else None)
            for path in came:
                if path is None:
                    is_ending = True
                elif _is_little(path):
                    if not little:
                        latest = time.monotonic() + _OLDEST_S
                    little.append(path)
                else:
                    self._remove(path)
            is_due = not came or is_ending or time.monotonic() > latest
            while little and (is_due or len(little) > MOST):
                self._remove(little.popleft())

    def _remove(self, path: str) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(OSError, NBContainersError):  # what stays goes with the next collection
                self._discard(Path(path))
                return


def _arrivals(waiting: queue.SimpleQueue[str | None], wait_s: float | None) -> list[str | None]:
    """What has come until nothing more came for a moment: whoever throws something away is in a hurry. None ends it."""
    try:
        came = [waiting.get(timeout=wait_s)]
    except queue.Empty:
        return []
    until = time.monotonic() + _LONGEST_S
    with contextlib.suppress(queue.Empty):
        while came[-1] is not None and time.monotonic() < until:
            came.append(waiting.get(timeout=_BREATH_S))
    return came


def _is_tight(path: str) -> bool:
    """Whether a disk has little room left. Where it has no fixed number of inodes, it says that it has none at all."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize < _ROOM or (disk.f_files > 0 and disk.f_favail < _INODES)


def _is_little(path: str) -> bool:
    """Whether few small files are in a tree."""
    count, folders = 0, [path]
    while folders:
        # The kernel's folder in the work folder of an overlay cannot be read by an ordinary user.
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                count += 1
                if count > _FEW or entry.stat(follow_symlinks=False).st_blocks > _SMALL:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return True
