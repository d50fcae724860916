"""What a shim watches for want of a cgroup: how much memory its container holds, and how many processes it has.

Beside what its processes have mapped a container holds memory by its descriptors (memfds), on file systems that lie in memory, and in
System V segments, attached or not. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import time

from ..linux import inside, memory, rights, smallfiles, syscalls
from . import enter, mother, overruns, processes
from .poller import happens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from .identity.supervisor import Supervisor
    from .plan import Plan
    from .poller import Poller
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_EVERY_S = 0.1
_SELDOM_S = 1.0  # the longest pause, however long a look takes
_SHARE = 10  # of a processor's time a look takes at most one in so many, until pauses are the longest
_BUDGET_S = 0.5  # of a processor's time that a look may take: a hundred thousand descriptors and more
_STRIDE = 256  # descriptors between two looks at the clock, which is as dear as some of them
_PATIENCE_S = 1.0  # how long the container's file systems may take to be reached
_TRIES = 3  # to reach them
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
        self._tries = 0
        self._timer: object = None

    def begin(self, pid: int, pidfd: int) -> None:
        """The container's command runs: so its first process is called."""
        self._first = pid, pidfd
        if self._plan["watched_memory"]:
            self._reach()  # now, for it may move what a file system of its own is mounted on
        if self._plan["watched_memory"] or self._plan["watched_processes"]:
            self._timer = self._poller.after(_EVERY_S, self._look)

    def end(self) -> None:
        """It does not run any more. Nothing happens again."""
        self._poller.cancel(self._timer)
        self._first, self._tries = (0, -1), 0
        if self._held is not None:
            self._held.close()
            self._held = None

    def held(self) -> int:
        """Bytes that the container holds beside what its processes have mapped, some of which they may have mapped, too."""
        until = time.process_time() + _BUDGET_S
        return self._count(processes.family(self._ours())[0], until)[0] if self._first[1] >= 0 else 0

    def _reach(self) -> None:
        if self._held is None and self._tries < _TRIES:
            self._tries += 1
            try:
                self._held = Held(self._plan, *self._first)
            except OSError:
                pass  # there is no room for it just now, or it takes too long

    def _count(self, pids: Iterable[int], until: float) -> tuple[int, bool]:
        """As ``Held.count``, nothing where it cannot be reached."""
        self._reach()
        return self._held.count(pids, until) if self._held is not None else (0, True)

    def _ours(self) -> list[int]:
        """Our children inside: the first process, and commands that were entered; PRoot's where it traces them."""
        if self._plan["view"] is not None:
            from . import tracees

            return tracees.roots(self._plan["view"]["loader"], tracees.tracers(os.getpid()))
        return [one for one in processes.children(os.getpid()) if one not in {self._supervisor.pid, mother.pid()}]

    def _look(self) -> None:
        began = time.process_time()
        pids, threads = processes.family(self._ours())
        limit, most = self._plan["watched_memory"], self._plan["watched_processes"]
        if most and len(threads) > most and self._has_more(threads, most):
            self._exceeds(overruns.of_processes(most))
        elif limit:
            self._measure(pids, limit, began + _BUDGET_S)
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

    def _measure(self, pids: Iterable[int], limit: int, until: float) -> None:
        """End it if it has more memory than that; counted dearly only if cheap counts, which are never less, exceed it.

        Also if that cannot be told in time: whoever opens a million files would have seconds in which nobody counts what is in the
        last of them.
        """
        mapped = sum(map(memory.resident, pids))
        if mapped + _shared_everywhere() <= limit:
            return
        held, is_all = self._count(pids, until)
        if not is_all:
            self._exceeds(overruns.OF_DESCRIPTORS)
        elif mapped + held > limit and memory.used(pids, held, until=until) > limit:
            self._exceeds("")


class Held:
    """The memory of one run of a container that need not be in any process."""

    def __init__(self, plan: Plan, pid: int, pidfd: int) -> None:
        """``pid`` and ``pidfd`` are those of its first process. What cannot be opened there is not counted; OSError where there is no
        room to try, or the container makes it last.
        """
        mounts = [*plan["pattern"]["mounts"], *plan["mounts"]]
        paths = [path for path, kind, *_ in mounts if kind == "tmpfs"][: rights.MOST - 1]
        self._mount = _mount_of_memfds()
        self._segments, *self._folders = _fetch(pid, pidfd, bool(plan["flags"] & syscalls.CLONE_NEWIPC), paths)

    def count(self, pids: Iterable[int], until: float) -> tuple[int, bool]:
        """(bytes of it, as far as they are in store, whether that is all): what this process has not come to when it has used so much
        of a processor's time is left out. ``pids`` are the container's processes.
        """
        memfds = dict[int, int]()
        is_all = all(self._memfds(pid, memfds, until) for pid in pids)
        held = sum(memfds.values()) + _segments(self._segments) + sum(map(_used, self._folders))
        return min(held, _shared_everywhere()), is_all  # the rest is swapped out

    def close(self) -> None:
        """Let go of its file systems."""
        for descriptor in (self._segments, *self._folders):
            if descriptor >= 0:
                os.close(descriptor)
        self._segments, self._folders = -1, []

    def _memfds(self, pid: int, found: dict[int, int], until: float) -> bool:
        """Add the bytes of the memfds that a process has open, by their inodes; False if there is no time for all of them."""
        try:
            folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return True  # it ended, or is not ours to look into
        try:
            with os.scandir(folder) as entries:
                for number, entry in enumerate(entries):
                    if not number % _STRIDE and time.process_time() > until:
                        return False
                    try:
                        if os.readlink(entry.name, dir_fd=folder).startswith("/memfd:"):
                            found.update(self._memfd(entry.name, folder))
                    except OSError:
                        continue
        except OSError:
            pass  # it ended meanwhile
        finally:
            os.close(folder)
        return True

    def _memfd(self, name: str, folder: int) -> dict[int, int]:
        """The bytes of the memfd that a link in an open /proc/PID/fd leads to, by its inode; nothing where it is only called like one.

        A file of a file system that the container serves itself might never answer: it is held first (O_PATH asks nobody), and only
        then, when it cannot be another one any more, looked at.
        """
        descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=folder)
        try:
            if _mount_of(descriptor) != self._mount:
                return {}
            status = os.fstat(descriptor)
            return {status.st_ino: status.st_blocks * _BLOCK}
        finally:
            os.close(descriptor)


def _fetch(pid: int, pidfd: int, is_apart: bool, paths: list[str]) -> list[int]:
    """What tells of a container's segments (-1 where they are not its own), and each tmpfs that is mounted at one of the paths.

    /proc/sysvipc is that of whoever opens it, for as long as it is open, and folders inside may be closed to the host's user: a child
    of this process goes there, and counts for RLIMIT_NPROC in there for as long as that takes. OSError where it cannot be made.
    """
    near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    child, handle = syscalls.clone3(0)
    if child == 0:
        try:
            words, along = rights.pack(*_find(pid, pidfd, is_apart, paths))
            far.sendmsg([words], along)
        finally:
            os._exit(0)
    far.close()
    has_answered = False
    try:
        # Folders of the container's may be served by itself, and then by nobody.
        if not happens(near.fileno(), select.POLLIN, _PATIENCE_S):
            raise TimeoutError("the container's file systems are not reached")
        has_answered = True
        words, descriptors = rights.receive(near.fileno(), descriptors=rights.MOST)
    finally:
        near.close()
        _end(child, handle, has_ended=has_answered)
    if sum(words) != len(descriptors) or not words:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return rights.unpack(words, descriptors)


def _end(child: int, handle: int, *, has_ended: bool) -> None:
    """Wait for a child that has answered or died; another one may be where not even SIGKILL ends it at once: nobody waits for it."""
    if not has_ended:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    os.waitpid(child, 0 if has_ended else os.WNOHANG)


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


def _mount_of_memfds() -> int:
    """The number of the mount that no path leads to, and all memfds lie on."""
    descriptor = os.memfd_create("")
    try:
        return _mount_of(descriptor)
    finally:
        os.close(descriptor)


def _mount_of(descriptor: int) -> int:
    """The number of the mount that an open file lies on; see proc_pid_fdinfo(5)."""
    lines = smallfiles.read(f"/proc/self/fdinfo/{descriptor}").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:"))


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
