"""For how long this process, and what it forks from now on, runs before another has its turn.

Whoever is woken and has a shorter slice than the one who runs does not wait for the end of that; nobody gets more of a processor by
it. Kernels before 6.12 know one length for all, and a policy without slices (for real time) stays as it is. Imports only what keeps
the zygote small. Source: sched_setattr(2); __setparam_fair in kernel/sched/syscalls.c.
"""

from __future__ import annotations

import ctypes
import os

_syscall = ctypes.CDLL(None).syscall
_SYS_SCHED_SETATTR = 314 if os.uname().machine == "x86_64" else 274
_KEEP_POLICY = 8  # include/uapi/linux/sched.h
_SHORTEST_NS = 100_000


def take_short() -> None:
    """Have the shortest that there are."""
    _set(_SHORTEST_NS)


def take_usual() -> None:
    """Have those that every process has."""
    _set(0)


def _set(nanoseconds: int) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = (ctypes.c_uint64 * 6)(48, _KEEP_POLICY, nice & 0xFFFFFFFF, nanoseconds)  # the first is its size
    _syscall(_SYS_SCHED_SETATTR, 0, ctypes.byref(attributes), 0)  # where it is refused it stays as it is
