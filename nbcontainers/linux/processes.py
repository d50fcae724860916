"""What a tree of processes uses, read from /proc: for hosts where no cgroup can be made, so nobody else counts.

Source: proc(5), proc_pid_stat(5), proc_pid_smaps_rollup (Documentation/filesystems/proc.rst).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

from ..errors import NotFound
from ..results import Usage
from . import memory
from .smallfiles import NO_ROOM

_TICKS = os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat, counted from the one after the command's closing parenthesis.
_PARENT, _TIMES, _THREADS, _START = 1, slice(11, 15), 17, 19


def descendants(pid: int, *, proc: str = "/proc") -> tuple[int, ...]:
    """The process and everything it started that is still there; an orphan belongs to the reaper that adopted it."""
    found, waiting = [], [pid]
    if os.path.exists(f"{proc}/{pid}/task/{pid}/children"):
        while waiting:
            one = waiting.pop()
            found.append(one)
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"{proc}/{one}/task"):
                    waiting += map(int, _read(f"{proc}/{one}/task/{thread}/children").split())
        return tuple(dict.fromkeys(found))
    children: dict[int, list[int]] = {}  # a kernel without CONFIG_PROC_CHILDREN: everybody is asked for his parent
    for name in os.listdir(proc):
        if name.isdigit() and (fields := _stat(int(name), proc)):
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, ())
    return tuple(dict.fromkeys(found))


class ProcessTreeMeter:
    """Measures a process and its descendants; what ended is counted as far as its parent waited for it.

    ``others`` tells which further processes count, with their descendants; what is over of them is counted as it was last seen.
    ``held`` tells the bytes that all of them hold otherwise than by mapping them.
    """

    def __init__(
        self,
        pid: int,
        *,
        others: Callable[[], Iterable[int]] = tuple,
        held: Callable[[], int] = int,
        proc: str = "/proc",
    ) -> None:
        self._pid = pid
        self._others = others
        self._held = held
        self._proc = proc
        self._ticks: dict[tuple[int, bytes], int] = {}  # of each root, by its pid and when it began
        self._peak = 0
        self._started = self._identity()

    def sample(self) -> Usage:
        """What the tree uses now. NotFound where its first process is gone.

        ``processes`` counts threads, as the kernel does for process limits; ``memory_peak`` is the largest sample so far.
        """
        if self._identity() != self._started:
            raise NotFound(f"process {self._pid} is gone")
        threads, pids = 0, list[int]()
        for root in (self._pid, *self._others()):
            ticks, began, tree = 0, b"", descendants(root, proc=self._proc)
            for pid, fields in self._fields(tree):
                ticks += sum(map(int, fields[_TIMES]))
                threads += int(fields[_THREADS])
                began = fields[_START] if pid == root else began
            # A child whose parent ignores SIGCHLD takes its times with it, and processor time does not run backwards.
            self._ticks[root, began] = max(self._ticks.get((root, began), 0), ticks)
            pids += tree
        used = memory.used(pids, self._held(), proc=self._proc)
        self._peak = max(self._peak, used)
        return Usage(
            time=time.time(),
            cpu_seconds=sum(self._ticks.values()) / _TICKS,
            memory=used,
            processes=threads,
            source="process tree",
            memory_peak=self._peak,
        )

    def close(self) -> None:
        """Nothing is kept open: it is there so that this meter can stand where a cgroup's does."""

    def _fields(self, pids: Iterable[int]) -> Iterator[tuple[int, list[bytes]]]:
        for pid in pids:
            if fields := _stat(pid, self._proc):
                yield pid, fields

    def _identity(self) -> bytes:
        fields = _stat(self._pid, self._proc)
        if not fields or fields[0] in {b"Z", b"X"}:
            raise NotFound(f"process {self._pid} is gone")
        return fields[_START]


def _stat(pid: int, proc: str) -> list[bytes]:
    """The fields behind the command of /proc/PID/stat (a command may hold blanks and parentheses); empty where it is gone."""
    try:
        return _read(f"{proc}/{pid}/stat").rpartition(b")")[2].split()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return []


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
