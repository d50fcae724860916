"""A group that is there, by its directories (one per hierarchy): its processes, stopping them, ending them, removing it.

Source: Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files"; cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Sequence

from ..errors import Conflict, HostError, NotFound

_LOOK_AGAIN_S = 0.02


def processes(directories: Sequence[str]) -> tuple[int, ...]:
    """The processes of the group and of groups below it; 0 stands for each that this pid namespace does not see."""
    found: list[int] = []
    for directory in directories[:1]:  # a container joins every hierarchy, so that each knows them all
        for path, _, _ in os.walk(directory):
            found += map(int, read(f"{path}/cgroup.procs").split())
    return tuple(found)


def freeze(directories: Sequence[str], *, frozen: bool) -> None:
    """Stop every process where it stands, or let them go on; returns when it is so.

    HostError where neither the v2 tree nor a v1 freezer is among the directories, or where the kernel takes too long; NotFound
    where they are removed meanwhile.
    """
    with unless_gone():
        _freeze(directories, frozen)


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """Turn what the kernel says of a group that was removed meanwhile into NotFound."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV}:
            raise
        raise NotFound("the cgroup is gone") from error


def _freeze(directories: Sequence[str], frozen: bool) -> None:
    for directory in directories:
        if os.path.exists(f"{directory}/cgroup.freeze"):
            write(f"{directory}/cgroup.freeze", "1" if frozen else "0")
            return _wait(f"{directory}/cgroup.events", f"frozen {int(frozen)}")
        if os.path.exists(f"{directory}/freezer.state"):
            state = "FROZEN" if frozen else "THAWED"
            write(f"{directory}/freezer.state", state)
            return _wait(f"{directory}/freezer.state", state)
    raise HostError("this host cannot freeze a container: it has neither cgroup v2 nor a v1 freezer that we may use")


def _wait(path: str, line: str, timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while line not in read(path).splitlines():
        os.stat(path)  # or FileNotFoundError: nothing will be said there any more
        if time.monotonic() > deadline:
            raise HostError(f"the kernel was asked for {line!r} in {path}, and it did not come in {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def kill(directories: Sequence[str], *, timeout: float) -> None:
    """End every process with SIGKILL, also those that are started meanwhile.

    Conflict where one is still there after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    _kill_once(directories)
    while remaining := processes(directories):
        if time.monotonic() > deadline:
            raise Conflict(
                f"{len(remaining)} processes do not end, such as {remaining[0]}",
                hint="they wait inside the kernel, most often for a disk or a network file system",
            )
        time.sleep(pause)
        pause *= 2
        if pause > 0.05:  # without cgroup.kill one may have been started after the list was read
            _kill_once(directories)
            pause = 0.001


def _kill_once(directories: Sequence[str]) -> None:
    for directory in directories:
        if os.path.exists(f"{directory}/cgroup.kill"):
            with contextlib.suppress(NotFound), unless_gone():
                write(f"{directory}/cgroup.kill", "1")
            return
    # A frozen group starts no process between the reading of the list and the signals; they die when it is thawed.
    with contextlib.suppress(HostError, NotFound):
        freeze(directories, frozen=True)
    for pid in processes(directories):
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(HostError, NotFound):
        freeze(directories, frozen=False)


def remove(directory: str) -> bool:
    """Remove a group's directory and the groups below it; False where something still runs in it, True where it is gone."""
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def sweep(directories: Iterable[str], *, older_than: float, waits: bool) -> tuple[str, ...]:
    """Remove the groups in which nobody is and which are old enough (seconds), and return those; with ``waits`` also those that get
    so old without anybody in them, for which is waited.
    """
    swept, young = _swept(directories, older_than)
    # The kernel dates a group by the first look at it, which was before this: then all are old, unless somebody has set the clock.
    deadline, is_last = time.monotonic() + older_than, not waits
    while young and not is_last:
        time.sleep(_LOOK_AGAIN_S)
        is_last = time.monotonic() > deadline
        more, young = _swept(young, older_than)
        swept += more
    return tuple(swept)


def _swept(directories: Iterable[str], older_than: float) -> tuple[list[str], list[str]]:
    """(those that were removed, those that are too young and without anybody in them)."""
    swept, young = [], []
    for directory in directories:
        with contextlib.suppress(OSError):
            if processes([directory]):
                continue
            if time.time() - os.stat(directory).st_ctime < older_than:
                young.append(directory)
            elif remove(directory):
                swept.append(directory)
    return swept, young


def fill_cpuset(directory: str) -> None:
    """A new v1 cpuset is empty, and then nobody can join it or a group below it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read(f"{directory}/{name}"):
            write(f"{directory}/{name}", read(f"{os.path.dirname(directory)}/{name}"))


def switch_on(directory: str, refusals: dict[str, str], wanted: Collection[str]) -> set[str]:
    """Those of the ``wanted`` v2 controllers that groups below the directory have, after switching on what can be.

    ``refusals`` gets why another cannot.
    """
    if not os.access(f"{directory}/cgroup.procs", os.W_OK):
        # Whoever moves a process writes there, too: it is above both the old place and the new one.
        raise PermissionError(errno.EACCES, "its cgroup.procs is not writable")
    # Where processes are, the kernel refuses memory and io, but not cpu, cpuset and pids, which threads can have: switching those on
    # makes the group one of threads, and then no process can get into a group below it. The machine's own root alone has no type.
    kind = read(f"{directory}/cgroup.type")
    if kind and (kind != "domain" or read(f"{directory}/cgroup.procs")):
        holds = "processes" if kind == "domain" else "threads"
        refusals.update(dict.fromkeys(wanted, f"{directory} holds {holds}, so cgroup v2 limits no group below it"))
        return set()
    enabled = set(read(f"{directory}/cgroup.subtree_control").split())
    for controller in read(f"{directory}/cgroup.controllers").split():
        if controller in enabled or controller not in wanted:
            continue
        try:
            write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            enabled.add(controller)
        except OSError as error:
            why = f"{directory}/cgroup.subtree_control: {error.strerror}"
            if error.errno == errno.EBUSY:
                why = f"{directory} holds processes, so cgroup v2 limits no group below it"
            refusals[controller] = why
    return enabled & set(wanted)


def read(path: str) -> str:
    """The content of a small file, stripped; empty where it cannot be read."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    """Write a control file: with one write(2), for the kernel takes each as a command, and never creating it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
