"""The processes of a container that PRoot shows its files: who they are, and how they end and stand still.

Without a pid namespace nothing but PRoot, which traces them, holds them together. All of them run in its loader, of which each container
has a copy of its own, so that they are told apart also when it is gone; who lets nobody look at what it executes is known by its tracer.
What PRoot itself starts, the parent of each command (see ``starter``), is none of the container's. Imports only what keeps the shim small.
"""

from __future__ import annotations

import os
import time

from ..linux import smallfiles
from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Iterator
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

LOADER = "loader"
"""What a state calls the path of the loader of a container that has one."""
_PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.002


def members(loader: str, tracers: Collection[int]) -> list[int]:
    """The processes of the container whose loader lies there; ``tracers`` are the PRoots that are known to be its."""
    return [pid for pid, is_starter in _found(loader, tracers) if not is_starter]


def roots(loader: str, tracers: Collection[int]) -> list[int]:
    """Those of them that none of them has started: of each command the first, and orphans."""
    found = members(loader, tracers)
    return [pid for pid in found if _parents(str(pid))[0] not in found]


def end(loader: str, tracers: Collection[int]) -> None:
    """Kill them, until there are none, and then their PRoots, which have taken note of that: nobody else would."""
    deadline = time.monotonic() + _PATIENCE_S
    killed: dict[int, int] = {}  # by pid, when they began
    while time.monotonic() < deadline:
        # Nobody who forks goes on before his tracer has seen it; nor does who dies, so that each round is a short one.
        signal_all(tracers, signal.SIGSTOP)
        found = members(loader, tracers) or _stranded(loader, tracers)
        _kill(found, killed)
        signal_all(tracers, signal.SIGCONT)
        if not found:
            break
        time.sleep(_LOOK_AGAIN_S)
    while (left := [pid for pid, _ in _found(loader, tracers)]) and time.monotonic() < deadline:
        if not tracers:  # their parents wait for nobody any more
            _kill(left, killed)
        time.sleep(_LOOK_AGAIN_S)
    _kill(left, killed)
    # Who gives back much memory runs in no loader any more, and is there all the same.
    while time.monotonic() < deadline and any(0 < start == processes.start_time(pid) for pid, start in killed.items()):
        time.sleep(_LOOK_AGAIN_S)
    # PRoot takes note of all ends, and ends itself.
    while any(map(processes.children, tracers)) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
    signal_all(tracers, signal.SIGKILL)


def _kill(found: Collection[int], killed: dict[int, int]) -> None:
    for pid in found:
        killed[pid] = processes.start_time(pid)
    signal_all(found, signal.SIGKILL)


def _stranded(loader: str, tracers: Collection[int]) -> list[int]:
    """Whom a PRoot has only forked so far: that one stands still until he is traced, though his PRoot be gone; and PRoots that are not
    known any more. They do not run in the loader, but their words name what lies beside it.
    """
    mark, found = b"\0-b\0" + os.fsencode(os.path.realpath(os.path.dirname(loader))) + b"/", []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in tracers:
            continue
        try:
            if mark in smallfiles.read(f"/proc/{name}/cmdline"):
                found.append(int(name))
        except OSError:  # it is gone
            continue
    return found


def _found(loader: str, tracers: Collection[int]) -> Iterator[tuple[int, bool]]:
    """Each process that runs in a loader, and whether it is the parent of a command."""
    try:
        wanted = os.stat(loader)
    except OSError:
        return
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            runs_in_it = os.path.samestat(os.stat(f"/proc/{name}/exe"), wanted)
        except PermissionError:
            runs_in_it = False
        except OSError:  # it is gone, or a zombie
            continue
        else:
            if not runs_in_it:
                continue
        parent, tracer = _parents(name)
        if runs_in_it or tracer in tracers:
            yield int(name), parent == tracer != 0


def is_traced_by(pid: int, tracer: int) -> bool:
    """Whether a process is traced by a certain one, or not there any more."""
    # In this order: it may end between the looks.
    return _parents(str(pid))[1] == tracer or not processes.start_time(pid)


def _parents(pid: str) -> tuple[int, int]:
    """(who started a process, who traces it); see proc_pid_status(5)."""
    found = [0, 0]
    try:
        for line in smallfiles.read(f"/proc/{pid}/status").splitlines():
            for place, key in enumerate((b"PPid:", b"TracerPid:")):
                if line.startswith(key):
                    found[place] = int(line.split()[1])
    except OSError:
        pass  # it is gone
    return found[0], found[1]


def signal_all(pids: Collection[int], number: int) -> None:
    """Send processes a signal, as far as they are there and ours."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def tracers(shim: int) -> list[int]:
    """What a shim has started: the PRoots of its container, and who starts them (see ``keeper``)."""
    return processes.children(shim)
