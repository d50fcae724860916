"""What a shim watches for want of a cgroup: how much memory its container holds, and how many processes it has.

Beside what its processes have mapped a container holds memory by its descriptors (memfds), on file systems that lie in memory, and in
System V segments, attached or not. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import os
import time

from ..linux import inside, rights, smallfiles, syscalls
from . import enter, mother, overruns, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .identity.supervisor import Supervisor
    from .plan import Plan
    from .poller import Poller

_EVERY_S = 0.1
_SELDOM_S = 1.0  # the longest pause, however long a look takes
_SHARE = 10  # of a processor's time a look takes at most one in so many, until pauses are the longest
_NOBODY_KNOWS = 1 << 62
_BLOCK = 512  # bytes of ``st_blocks``, whatever the file system's are; see stat(2)
_RESIDENT = 14  # the field of /proc/sysvipc/shm; see ipc/shm.c, sysvipc_shm_proc_show
_TMPFS_MAGIC = 0x01021994  # include/uapi/linux/magic.h


class Watch:
    """Looks at a container ten times a second, where its plan says so."""

    def __init__(self, poller: Poller, plan: Plan, supervisor: Supervisor, exceeds: Callable[[str], object]) -> None:
        """``exceeds`` is called when the container has more than it may, with why it is to end: empty for its memory."""
        self._poller = poller
        self._plan = plan
        self._supervisor = supervisor
        self._exceeds = exceeds
        self._first = (0, -1)
        self._held: Held | None = None
        self._timer: object = None

    def begin(self, pid: int, pidfd: int) -> None:
        """The container's command runs: so its first process is called."""
        self._first = pid, pidfd
        if self._plan["watched_memory"] or self._plan["watched_processes"]:
            self._timer = self._poller.after(_EVERY_S, self._look)

    def end(self) -> None:
        """It does not run any more. Nothing happens again."""
        self._poller.cancel(self._timer)
        self._first = 0, -1
        if self._held is not None:
            self._held.close()
            self._held = None

    def held(self) -> int:
        """Bytes that the container holds beside what its processes have mapped, some of which they may have mapped, too."""
        return self._count(processes.family(self._ours())[0]) if self._first[1] >= 0 else 0

    def _count(self, pids: Iterable[int]) -> int:
        try:
            self._held = self._held or Held(self._plan, *self._first)
        except OSError:
            return 0  # there is no room for it just now
        return self._held.count(pids)

    def _ours(self) -> list[int]:
        """Our children inside: the first process, and commands that were entered."""
        return [one for one in processes.children(os.getpid()) if one not in {self._supervisor.pid, mother.pid()}]

    def _look(self) -> None:
        began = time.process_time()
        pids, threads = processes.family(self._ours())
        memory, most = self._plan["watched_memory"], self._plan["watched_processes"]
        if most and len(threads) > most and self._has_more(threads, most):
            self._exceeds(overruns.of_processes(most))
        elif memory and self._uses_more(pids, memory):
            self._exceeds("")
        pause = min(_SHARE * (time.process_time() - began), _SELDOM_S)
        self._timer = self._poller.after(max(_EVERY_S, pause), self._look)

    def _has_more(self, threads: set[int], most: int) -> bool:
        """Whether more than so many of these threads are there at once: those that a second look finds were so between the two. What
        of ours does not live as deep as the first process is no part of the container.
        """
        try:
            depth = processes.depth(self._first[0])
            roots = [pid for pid in self._ours() if processes.depth(pid) == depth]
        except OSError:
            return False  # there is no room to ask just now
        return len(threads & processes.family(roots)[1]) > most

    def _uses_more(self, pids: Iterable[int], limit: int) -> bool:
        """Whether the container has more memory than that; counted dearly only if cheap counts, which are never less, exceed it."""
        mapped = sum(map(processes.resident, pids))
        if mapped + _shared_everywhere() <= limit:
            return False
        held = self._count(pids)
        return mapped + held > limit and processes.memory(pids, held) > limit


class Held:
    """The memory of one run of a container that need not be in any process."""

    def __init__(self, plan: Plan, pid: int, pidfd: int) -> None:
        """``pid`` and ``pidfd`` are those of its first process. What cannot be opened there is not counted; OSError where there is no
        room to try.
        """
        mounts = [*plan["pattern"]["mounts"], *plan["mounts"]]
        paths = [path for path, kind, *_ in mounts if kind == "tmpfs"][: rights.MOST - 1]
        self._device = _kernels_own()
        self._segments, *self._folders = _fetch(pid, pidfd, bool(plan["flags"] & syscalls.CLONE_NEWIPC), paths)

    def count(self, pids: Iterable[int]) -> int:
        """Bytes of it, as far as they are in store; ``pids`` are the container's processes."""
        held = self._memfds(pids) + _segments(self._segments) + sum(map(_used, self._folders))
        return min(held, _shared_everywhere())  # the rest is swapped out

    def close(self) -> None:
        """Let go of its file systems."""
        for descriptor in (self._segments, *self._folders):
            if descriptor >= 0:
                os.close(descriptor)
        self._segments, self._folders = -1, []

    def _memfds(self, pids: Iterable[int]) -> int:
        found = {}
        for pid in pids:
            try:
                names = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                continue  # it ended, or is not ours to look into
            for name in names:
                path = f"/proc/{pid}/fd/{name}"
                try:
                    # Only who is called like one is asked for more: a file system that somebody serves might never answer.
                    if os.readlink(path).startswith("/memfd:"):
                        status = os.stat(path)
                        if status.st_dev == self._device:
                            found[status.st_ino] = status.st_blocks * _BLOCK
                except OSError:
                    continue
        return sum(found.values())


def _fetch(pid: int, pidfd: int, is_apart: bool, paths: list[str]) -> list[int]:
    """What tells of a container's segments (-1 where they are not its own), and each tmpfs that is mounted at one of the paths.

    /proc/sysvipc is that of whoever opens it, for as long as it is open, and folders inside may be closed to the host's user: a child
    of this process goes there, and counts for RLIMIT_NPROC in there for as long as that takes. OSError where it cannot be made.
    """
    near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        child, handle = syscalls.clone3(0)
        if child == 0:
            try:
                words, along = rights.pack(*_find(pid, pidfd, is_apart, paths))
                far.sendmsg([words], along)
            finally:
                os._exit(0)
        os.close(handle)
        far.close()
        words, descriptors = rights.receive(near.fileno(), descriptors=rights.MOST)
        os.waitpid(child, 0)
    finally:
        near.close()
        far.close()
    return rights.unpack(words or b"\0", descriptors)


def _find(pid: int, pidfd: int, is_apart: bool, paths: list[str]) -> list[int]:
    root = os.open(f"/proc/{pid}/root", inside.FOLDER)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # nobody in there may look into this process
    kinds = syscalls.CLONE_NEWUSER | (syscalls.CLONE_NEWIPC if is_apart else 0)
    if flags := enter.namespaces(pid) & kinds:
        syscalls.setns(pidfd, flags)
    try:
        found = [os.open("/proc/sysvipc/shm", os.O_RDONLY) if is_apart else -1]
    except OSError:  # a kernel without them
        found = [-1]
    for path in paths:
        try:
            folder = inside.look_up(root, path)
        except OSError:
            continue
        if folder >= 0 and syscalls.filesystem_type(folder) == _TMPFS_MAGIC:
            found.append(folder)
    return found


def _kernels_own() -> int:
    """The device of memory that has no file system for others to see: that of memfds."""
    descriptor = os.memfd_create("")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _segments(descriptor: int) -> int:
    if descriptor < 0:
        return 0
    os.lseek(descriptor, 0, os.SEEK_SET)
    lines = smallfiles.read_all(descriptor).splitlines()[1:]
    return sum(int(line.split()[_RESIDENT]) for line in lines)


def _used(folder: int) -> int:
    """Bytes on a file system, files among them that have no name any more but are open. Source: tmpfs(5)."""
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def _shared_everywhere() -> int:
    """Bytes in store of all memory that is shared or on a tmpfs, on the whole host: no container has more. See proc_meminfo(5)."""
    try:
        for line in smallfiles.read("/proc/meminfo").splitlines():
            if line.startswith(b"Shmem:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _NOBODY_KNOWS
