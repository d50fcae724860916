"""Capabilities by number and name: what a container gets, and what this process could give; see capabilities(7)."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable, Mapping

from ..errors import NBContainersError
from . import syscalls

_WORDS = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
_DOCKER = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)

NAMES: Mapping[int, str] = dict(enumerate(f"CAP_{word}" for word in _WORDS.split()))
"""Every capability of Linux 5.9 to 6.18 by its number (include/uapi/linux/capability.h)."""

ALL: frozenset[str] = frozenset(NAMES.values())
DOCKER: frozenset[str] = frozenset(f"CAP_{word}" for word in _DOCKER.split())
"""What Docker gives a container that asks for nothing: the mask 0xa80425fb."""

OF_INITIAL: frozenset[str] = frozenset(
    f"CAP_{word}"
    for word in (
        "SYS_MODULE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG SYS_PACCT SYS_NICE SYS_RESOURCE SYSLOG MKNOD LEASE LINUX_IMMUTABLE IPC_LOCK "
        "AUDIT_WRITE AUDIT_CONTROL AUDIT_READ MAC_OVERRIDE MAC_ADMIN WAKE_ALARM BLOCK_SUSPEND PERFMON BPF"
    ).split()
)
"""Those that the kernel wants in the initial user namespace for all or nearly all that they allow (capable(), not ns_capable()).

CAP_SYS_BOOT is none of them: what reboot(2) does to a pid namespace it does in a user namespace, too.
"""

_NUMBERS = {name: number for number, name in NAMES.items()}


def mask(names: Iterable[str]) -> int:
    """The set as the kernel writes it in /proc/PID/status, as an integer. Names are as ``parse`` takes them."""
    return sum(1 << _NUMBERS[name] for name in {parse(name) for name in names})


def names(mask: int) -> frozenset[str]:
    """The names of a mask; bits that are newer than this table have no name and are left out."""
    return frozenset(name for number, name in NAMES.items() if mask >> number & 1)


def parse(word: str) -> str:
    """The full name of a capability written with or without ``CAP_``, in any case.

    NBContainersError where there is no such capability; the hint names the nearest.
    """
    name = word.strip().upper()
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name in ALL:
        return name
    near = difflib.get_close_matches(name, ALL, n=1)
    raise NBContainersError(
        f"no capability is called {word!r}",
        hint=f"did you mean {near[0]}?" if near else "capabilities(7) lists them; ALL stands for every one",
    )


@functools.cache
def bounding() -> frozenset[str]:
    """The bounding set of this process: no container of it can get more, not even a root's.

    Some hosts take capabilities away from root itself (CAP_SYS_RESOURCE, most often), and older kernels do not know the newest.
    """
    held = set()
    for number, name in NAMES.items():
        try:
            if syscalls.prctl(syscalls.PR_CAPBSET_READ, number):
                held.add(name)
        except OSError:  # EINVAL: this kernel's last capability has a smaller number
            break
    return frozenset(held)


def adjust(base: Collection[str], add: Iterable[str] = (), drop: Iterable[str] = ()) -> frozenset[str]:
    """What Docker's ``--cap-add`` and ``--cap-drop`` make of a set; ``ALL`` stands for every one.

    As in Docker: with ``ALL`` in ``add`` it is all but what ``drop`` names; else with ``ALL`` in ``drop`` only what ``add`` names;
    else ``drop`` is taken away first and ``add`` then given, so that a name in both is held. NBContainersError
    where there is no such capability.
    """
    return _adjusted(frozenset(base), tuple(add), tuple(drop))


@functools.lru_cache(maxsize=64)
def _adjusted(base: frozenset[str], add: tuple[str, ...], drop: tuple[str, ...]) -> frozenset[str]:
    added, every = _words(add)
    dropped, none = _words(drop)
    if every:
        return ALL - dropped
    if none:
        return added
    return (frozenset(parse(name) for name in base) - dropped) | added


def _words(words: Iterable[str]) -> tuple[frozenset[str], bool]:
    given = {word.strip().upper() for word in words}
    return frozenset(parse(word) for word in given - {"ALL"}), "ALL" in given
