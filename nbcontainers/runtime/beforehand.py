"""What a shim does before it is wanted, in the time of nobody: what needs no plan, and a network namespace for its container.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import marshal
import os

from ..linux import syscalls
from . import init, processes, record

_NETWORK = "/proc/self/ns/net"
_born = 0  # when this process began
_spare: tuple[int, ...] = ()  # descriptors of a network namespace that nobody is in yet, and of our own


def rehearse() -> None:
    """Do beforehand what needs no plan, and use what its work will use: memory that a fork shares is copied when it is first touched."""
    global _born, _spare
    _born = processes.start_time(os.getpid())
    marshal.dumps({"folder": "", "root": ("", [("", 0)], b"", True)})
    record.to_json({"status": "running", "labels": [], "pid": _born})
    own = os.open(_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:  # a new one costs as much as all the other namespaces, and belongs to the user namespace that we are in
        syscalls.setns(own, syscalls.CLONE_NEWNET)  # refused where ours does not: there would be no way back
        syscalls.unshare(syscalls.CLONE_NEWNET)
    except OSError:
        os.close(own)
        return
    init.raise_loopback()
    _spare = os.open(_NETWORK, os.O_RDONLY | os.O_CLOEXEC), own
    syscalls.setns(own, syscalls.CLONE_NEWNET)


def born() -> int:
    """When this process began: see ``processes.start_time``."""
    return _born or processes.start_time(os.getpid())


def clone(flags: int, cgroup: int, *, is_elsewhere: bool) -> tuple[int, int]:
    """clone3, with the spare network namespace where a new one is wanted, unless it is to belong to another user namespace."""
    global _spare
    spare, _spare = _spare, ()
    try:
        if (
            not spare
            or is_elsewhere
            or flags & (syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUSER) != syscalls.CLONE_NEWNET
        ):
            return syscalls.clone3(flags, cgroup=cgroup)
        pid = -1
        syscalls.setns(spare[0], syscalls.CLONE_NEWNET)
        try:
            pid, pidfd = syscalls.clone3(flags & ~syscalls.CLONE_NEWNET, cgroup=cgroup)
        finally:
            if pid:  # not in the child: it stays where it was made, and this process must not, or the namespace would outlive it
                syscalls.setns(spare[1], syscalls.CLONE_NEWNET)
        return pid, pidfd
    finally:
        for descriptor in spare:
            os.close(descriptor)
