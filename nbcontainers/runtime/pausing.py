"""Stopping a container where it stands, and letting it go on: by its cgroup's freezer, else process by process.

Where there is no freezer, SIGSTOP stands in: every process of the container is stopped, again and again until no new one
appears. Unlike a freezer it can be noticed, and undone, from inside (SIGCONT); ``pause`` says so.
"""

from __future__ import annotations

import contextlib
import os
import signal as signals
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Conflict, HostError, NotFound
from ..linux import groups
from . import processes, record, state, tracees

_ROUNDS = 50
_STILL_S = 5.0
_BUSY, _WAITING = {"R", "S", "D"}, {"D"}
WITHOUT_FREEZER = (
    "it was stopped with SIGSTOP, for this host has no freezer: a process inside can let another one go on"
)


def members(pid: int, extra: Mapping[str, Any]) -> tuple[int, ...]:
    """The processes of a container, commands that were entered among them: all in the pid namespace of its first process.

    ``extra`` is what its shim noted, which knows those of a container without namespaces.
    """
    if loader := extra.get(tracees.LOADER):
        return tuple(tracees.members(loader, tracees.tracers(extra["shim"])))
    try:
        wanted = os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return ()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
                    found.append(int(name))
    return tuple(found)


def pause(folder: Path) -> str:
    """Stop every process, note it, and return how it was done if that is less than a freezer. Conflict if it does not run."""
    found = state.load_state(folder)
    if found.status != "running":
        raise Conflict(f"container {found.name or found.id} is {found.status}, not running")
    extra = state.load_extra(folder)
    try:
        how = _freeze(found.pid, extra, frozen=True)
    except NotFound:
        raise Conflict(f"container {found.name or found.id} ended meanwhile") from None
    if not _note(folder, "paused", found.pid):
        with contextlib.suppress(NotFound):
            _freeze(found.pid, extra, frozen=False)
        raise Conflict(f"container {found.name or found.id} ended meanwhile")
    return how


def unpause(folder: Path) -> None:
    """Let it go on. Conflict if it is not paused."""
    found = state.load_state(folder)
    if found.status != "paused":
        raise Conflict(f"container {found.name or found.id} is not paused")
    with contextlib.suppress(NotFound):  # it has ended meanwhile
        _freeze(found.pid, state.load_extra(folder), frozen=False)
    _note(folder, "running", found.pid)


def _freeze(pid: int, extra: Mapping[str, Any], *, frozen: bool) -> str:
    directories: Sequence[str] = extra.get("cgroup_directories") or ()
    try:
        groups.freeze(directories, frozen=frozen)
        return ""
    except HostError:
        if any(os.path.exists(f"{path}/{name}") for path in directories for name in ("cgroup.freeze", "freezer.state")):
            raise
    number = signals.SIGSTOP if frozen else signals.SIGCONT
    if extra.get(tracees.LOADER):  # who is traced stands still only where his tracer does
        tracees.signal_all(tracees.tracers(extra["shim"]), number)
    done: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = [each for each in members(pid, extra) if each not in done]
        if not fresh:
            break
        for each in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        done.update(fresh)
    if frozen:
        _wait_until_still(done)
    return WITHOUT_FREEZER


def _wait_until_still(pids: set[int]) -> None:
    """Wait until none of their threads does anything: a signal takes effect when one next leaves the kernel.

    One that waits there for something that nobody can interrupt (a disk, or a child of vfork that has been stopped) is given
    its time, too, and then taken to be still. HostError, and they all go on, where one that could stop does not.
    """
    deadline = time.monotonic() + _STILL_S
    while busy := {pid: states for pid in pids if (states := _states(pid) & _BUSY)}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    if restless := [pid for pid, states in busy.items() if states != _WAITING]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signals.SIGCONT)
        raise HostError(f"process {restless[0]} was told to stop (SIGSTOP), and had not after {_STILL_S:g} seconds")


def _states(pid: int) -> set[str]:
    """The states of a process's threads; see proc_pid_stat(5)."""
    found = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                found.add(chr(file.read().rpartition(b") ")[2][0]))
    return found


def _note(folder: Path, status: str, pid: int) -> bool:
    """Write the status, if it is still the same run; the shim writes what comes after."""
    try:
        descriptor = record.lock(str(folder))
    except FileNotFoundError:
        return False
    try:
        known = record.read(descriptor)
        if known.get("pid") != pid or not processes.start_time(pid):
            return False
        record.write(descriptor, {**known, "status": status})
        return True
    finally:
        os.close(descriptor)
