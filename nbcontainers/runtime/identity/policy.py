"""Which calls the supervisor answers, as the engine writes them into a container's plan."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from ...linux import recorded, seccomp
from . import files, forks, making, people
from .credentials import RLIMIT_LOCKS


class IdentityPlan(TypedDict):
    """What the supervisor is told before it starts: the filter, its calls by number, where records are, what root may."""

    filter: bytes
    calls: dict[int, str]
    ledgers: list[str]
    ledger: str
    tree: str
    capabilities: int
    no_new_privs: bool
    locks: tuple[int, int]
    has_records: bool
    most: int  # processes and threads, where it is this one that counts them; else 0


IDENTITY = "dev.nbcontainers.identity"
"""The annotation of a specification that says ``off`` where identities are not to be answered."""

OWN = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc", "/sys"})
"""Where a container has mounts by itself whose files nobody else has given owners."""

_UNLIMITED = (1 << 64) - 1
_TMPFILE = 0o20000000
# Calls that are of interest with some arguments only: (argument, mask, wanted), any of which is enough.
_ONLY: dict[str, Sequence[tuple[int, int, int]]] = {
    "open": ((1, os.O_CREAT, os.O_CREAT), (1, _TMPFILE, _TMPFILE)),
    "openat": ((2, os.O_CREAT, os.O_CREAT), (2, _TMPFILE, _TMPFILE)),
    "getsockopt": ((2, 0xFFFFFFFF, people.SO_PEERCRED),),
    "prctl": tuple((0, 0xFFFFFFFF, option) for option in (people.PR_SET_KEEPCAPS, people.PR_SET_SECUREBITS)),
    "getrlimit": ((0, 0xFFFFFFFF, RLIMIT_LOCKS),),
    "setrlimit": ((0, 0xFFFFFFFF, RLIMIT_LOCKS),),
    "prlimit64": ((1, 0xFFFFFFFF, RLIMIT_LOCKS),),
}


def plan(
    trees: Sequence[str],
    *,
    is_alone: bool,
    capabilities: int,
    no_new_privs: bool,
    locks: tuple[int, int] | None,
    most: int = 0,
) -> IdentityPlan:
    """The supervisor's part of a container's plan.

    Args:
        trees: the folders that the root is made of, the writable one first, and those of other images that are mounted.
        is_alone: whether no other container's files are mounted in this one, in which something may be recorded.
        capabilities: what root may in the container, as a mask.
        no_new_privs: whether set-id bits are passed over.
        locks: what the container is told when it asks for its RLIMIT_LOCKS.
        most: processes and threads, where nobody else limits them; 0 for any number.
    """
    program, calls = _compiled(counts=most > 0)
    own, *lower = (str(Path(tree).parent / recorded.LEDGER) for tree in trees)
    return IdentityPlan(
        filter=program,
        calls=calls,
        ledgers=[path for path in lower if os.path.exists(path)],
        ledger=own,
        tree=trees[0],
        capabilities=capabilities,
        no_new_privs=no_new_privs,
        locks=locks or (_UNLIMITED, _UNLIMITED),
        has_records=not (is_alone and recorded.has_none([*trees])),
        most=most,
    )


@functools.cache
def _compiled(*, counts: bool) -> tuple[bytes, dict[int, str]]:
    machine = platform.machine()
    numbers = seccomp.numbers(machine)
    answered = (*files.CALLS, *people.CALLS, *making.CALLS, *(forks.CALLS if counts else ()))
    names = [name for name in answered if name in numbers]
    rules: list[dict[str, Any]] = [{"names": [name for name in names if name not in _ONLY], "action": _NOTIFY}]
    for name in names:
        for argument, mask, wanted in _ONLY.get(name, ()):
            test = {"index": argument, "value": mask, "valueTwo": wanted, "op": "SCMP_CMP_MASKED_EQ"}
            rules.append({"names": [name], "action": _NOTIFY, "args": [test]})
    program = seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}, machine, foreign=True)
    return program, {numbers[name]: name for name in names}


_NOTIFY = "SCMP_ACT_NOTIFY"
