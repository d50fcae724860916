"""Processes by pid, as the shim needs them: which one it is, its descendants, and the memory they hold.

linux/processes.py measures for the eyes of a user; this watches, ten times a second, and imports only what keeps the zygote small.
"""

from __future__ import annotations

import os

from ..linux import smallfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since the host's boot; 0 where there is none, or only its zombie.

    With the pid it names one process for good: a pid comes again, but not with its time. OSError where this process has no
    descriptor left to ask with. Source: proc_pid_stat(5).
    """
    try:
        fields = _fields(smallfiles.read(f"/proc/{pid}/stat"))
    except OSError as error:
        if error.errno in smallfiles.NO_ROOM:  # whoever is alive must not pass for dead
            raise
        return 0
    return 0 if not fields or fields[0] in b"ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """The processes that a process started and that are still there."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def tree(pid: int) -> Iterator[int]:
    """The pid and those of all its descendants; what ends meanwhile is passed over."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def resident(pid: int) -> int:
    """Bytes of memory that a process has in store, pages that it shares with others counted in full."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def proportional(pid: int) -> int:
    """The same with each shared page divided by those who share it: these add up. Dearer; where refused, ``resident``."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return resident(pid)


def memory(roots: list[int], limit: int = 0) -> int:
    """Bytes that trees of processes use; counted dearly only if a cheap count, which is never less, exceeds the limit."""
    pids = [pid for root in roots for pid in tree(root)]
    cheap = sum(map(resident, pids))
    return cheap if cheap <= limit else sum(map(proportional, pids))


def _fields(text: bytes) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; the second, in brackets, may hold anything."""
    return text[text.rindex(b")") + 2 :].split() if text else []


def _read(path: str) -> bytes:
    """A file of /proc, empty where it or its process is gone."""
    try:
        return smallfiles.read(path)
    except OSError:
        return b""
