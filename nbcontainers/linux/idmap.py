"""Which ids of the host the containers' ids are: what the store and the runtime must agree on.

The zygote does not import this module: it gets the maps as text (see ``text``).
"""

from __future__ import annotations

import os
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
