"""Processes by pid, as the shim needs them: which one it is, and its descendants.

linux/processes.py measures for the eyes of a user; this watches, ten times a second, and imports only what keeps the zygote small.
"""

from __future__ import annotations

import os

from ..linux import smallfiles, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory


def end_with(parent: int) -> None:
    """Have this process end with the one that forked it, which may have been killed before this could be asked for."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


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


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by SIGSTOP or by one who traces it: it does nothing until it is let go on."""
    fields = _fields(_read(f"/proc/{pid}/stat"))
    return bool(fields) and fields[0] in b"Tt"


def children(pid: int, *, proc: str = "/proc") -> list[int]:
    """The processes that a process started and that are still there."""
    try:
        threads = os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(f"{proc}/{pid}/task/{thread}/children").split()]


def tree(pid: int) -> Iterator[int]:
    """The pid and those of all its descendants; what ends meanwhile is passed over."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def family(roots: Iterable[int], *, proc: str = "/proc") -> tuple[set[int], set[int]]:
    """(processes, threads) of trees of processes; the second are what the kernel counts for limits on processes."""
    pids, threads, waiting = set[int](), set[int](), [*roots]
    while waiting:  # no recursion: they may lie one below another as deep as they like
        pid = waiting.pop()
        if pid in pids:
            continue
        try:
            found = os.listdir(f"{proc}/{pid}/task")
        except OSError:
            continue
        pids.add(pid)
        for thread in found:
            threads.add(int(thread))
            waiting += map(int, _read(f"{proc}/{pid}/task/{thread}/children").split())
    return pids, threads


def depth(pid: int) -> int:
    """In how many pid namespaces a process has a number, 0 where it is gone; other than where they are, anybody may read that.

    OSError where this process has no descriptor left to ask with.
    """
    try:
        lines = smallfiles.read(f"/proc/{pid}/status").splitlines()
    except OSError as error:
        if error.errno in smallfiles.NO_ROOM:
            raise
        return 0
    return next((len(line.split()) - 1 for line in lines if line.startswith(b"NSpid:")), 0)


def _fields(text: bytes) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; the second, in brackets, may hold anything."""
    return text[text.rindex(b")") + 2 :].split() if text else []


def _read(path: str) -> bytes:
    """A file of /proc, empty where it or its process is gone."""
    try:
        return smallfiles.read(path)
    except OSError:
        return b""
