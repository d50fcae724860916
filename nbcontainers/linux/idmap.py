"""Which ids of the host the containers' ids are: what the store and the runtime must agree on.

The zygote does not import this module: it gets the maps as text (see ``text``).
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import IntegrityError
from ..oci.runtime import IdMapping


@dataclass(frozen=True, slots=True)
class Identity:
    """How containers see ids: through a user namespace with these maps, or (``userns`` false, maps empty) as the host does."""

    userns: bool
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether there is one id only."""
        return self.userns and len(self.uid_mappings) == 1 and self.uid_mappings[0].size == 1

    @property
    def users(self) -> str:
        """Whose files of containers are on disk: ``host`` (each his own), ``range`` (of a range of ids) or ``single`` (one id's)."""
        if not self.userns:
            return "host" if os.geteuid() == 0 else "single"
        return "single" if self.is_single else "range"

    @property
    def is_helped(self) -> bool:
        """Whether the maps take more than this user's own privilege: those of several ids, but root's."""
        return self.userns and not self.is_single and os.geteuid() != 0

    def holds(self, uid: int, gid: int) -> bool:
        """Whether a file inside can be owned by these ids of the container."""
        return not self.userns or (_covers(self.uid_mappings, uid) and _covers(self.gid_mappings, gid))


def of_host() -> Identity:
    """Root's identity: the container's ids are the host's."""
    return Identity(userns=False)


def single() -> Identity:
    """The identity that any user has without help: root inside is the caller, and no other id exists.

    The real effective ids are mapped, so that files made inside belong to the caller.
    """
    return Identity(
        userns=True,
        uid_mappings=(IdMapping(container=0, host=os.geteuid(), size=1),),
        gid_mappings=(IdMapping(container=0, host=os.getegid(), size=1),),
    )


def delegated() -> Identity | None:
    """The identity with the ids that /etc/subuid and /etc/subgid give this user beside his own; None where there are none."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        users = groups = (_ROOTS, _MOST)
    else:
        found = _delegation("/etc/subuid", uid), _delegation("/etc/subgid", uid)
        if found[0] is None or found[1] is None:
            return None
        users, groups = found[0], found[1]
    return Identity(userns=True, uid_mappings=_with_own(uid, *users), gid_mappings=_with_own(gid, *groups))


def _with_own(own: int, first: int, count: int) -> tuple[IdMapping, ...]:
    return (
        IdMapping(container=0, host=own, size=1),
        IdMapping(container=1, host=first, size=min(count, _MOST)),
    )


def _delegation(path: str, uid: int) -> tuple[int, int] | None:
    """The first id and the number of ids of the user's longest range; see subuid(5)."""
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    found = []
    with contextlib.suppress(OSError), open(path) as file:
        for line in file:
            name, _, numbers = line.strip().partition(":")
            first, _, count = numbers.partition(":")
            if name in names and first.isdigit() and count.isdigit():
                found.append((int(first), int(count)))
    return max(found, key=lambda entry: entry[1], default=None)


_MOST = 65535  # with the user's own: all ids of 16 bits, which is what images use
_ROOTS = 1 << 30  # for root, who may map any: ids that nobody has


def text(mappings: Sequence[IdMapping], *, nested: bool = False) -> str:
    """The maps as /proc/PID/uid_map takes them; see user_namespaces(7).

    ``nested`` is for a namespace in one that has these maps already: each id is what it is outside of it.
    """
    return "".join(
        f"{entry.container} {entry.container if nested else entry.host} {entry.size}\n" for entry in mappings
    )


def parse(lines: str) -> tuple[IdMapping, ...]:
    """Read the text of /proc/PID/uid_map; IntegrityError where a line is not three numbers."""
    try:
        rows = [tuple(int(word) for word in line.split()) for line in lines.splitlines()]
        return tuple(IdMapping(container=inside, host=outside, size=size) for inside, outside, size in rows)
    except ValueError as error:
        raise IntegrityError(f"not an id map: {lines!r}") from error


def _covers(mappings: Sequence[IdMapping], number: int) -> bool:
    return any(entry.container <= number < entry.container + entry.size for entry in mappings)
