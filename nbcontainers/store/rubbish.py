"""What nobody wants any more, moved to ROOT/trash at once and removed when nobody waits for it."""

from __future__ import annotations

import contextlib
import os
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
_LOOK_S, _LONGEST_S = (
    0.25,
    2.0,
)  # from one look at what has come to the next, and how long that waits for a calm one: longer than a rush
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
    _came: deque[str]
    _is_over: threading.Event
    _thread: threading.Thread | None

    def __init__(
        self, root: Path, discard: Callable[[Path], object], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """``meanwhile`` is called where there is time, and room on the disk, for what is to be there the next time."""
        self._trash = f"{root}/trash"
        self._discard = discard
        self._meanwhile = meanwhile
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
            if self._thread is None:
                self._start()
            self._came.append(aside)  # nobody is woken: the two would share the interpreter
        if _is_tight(self._trash):
            self.close()

    def close(self) -> None:
        """Wait until all of it has been removed."""
        if self._owner != os.getpid():
            return
        with self._mutex:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._is_over.set()
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        """In a process that has no such thread: a forked one has none but that which forked."""
        self._owner = os.getpid()
        self._mutex = threading.Lock()
        self._thread = None

    def _start(self) -> None:
        self._came, self._is_over = deque(), threading.Event()
        thread = threading.Thread(target=self._work, args=(self._came, self._is_over), daemon=True)
        thread.start()
        self._thread = thread  # only now: there may be too many threads

    def _work(self, came: deque[str], is_over: threading.Event) -> None:
        """Look now and then at what has come, until it is over or nothing is left."""
        little: deque[str] = deque()
        looked = calm = time.monotonic()  # calm: since when nothing has come
        latest = 0.0  # when what is little goes, whatever comes
        while True:
            known = len(came)
            is_ending = is_over.wait(_LOOK_S)
            now = time.monotonic()
            if len(came) > known and not is_ending and now < looked + _LONGEST_S:
                continue  # whoever throws something away is in a hurry
            looked = now
            with contextlib.suppress(OSError):  # the store may be gone
                if not is_ending and not _is_tight(self._trash):
                    self._meanwhile()
            if came:
                calm = now
            while came:
                path = came.popleft()
                if not _is_little(path):
                    self._remove(path)
                    continue
                if not little:
                    latest = now + _OLDEST_S
                little.append(path)
            is_due = is_ending or now > min(calm + _IDLE_S, latest)
            while little and (is_due or len(little) > MOST):
                self._remove(little.popleft())
            with self._mutex:
                if not came and not little:
                    if self._came is came:  # else another thread has taken its place
                        self._thread = None
                    return

    def _remove(self, path: str) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(OSError, NBContainersError):  # what stays goes with the next collection
                self._discard(Path(path))
                return


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
