"""Policies of system calls as the kernel takes them. Compiling one takes longer than all the rest of a start, so each is compiled once."""

from __future__ import annotations

import platform

from ..errors import LaunchError
from ..linux import notify, seccomp
from ..oci.runtime import Json

_MOST = 32
# Holds the profiles, so that no other gets one's identity.
_known: dict[tuple[int, bool | None], tuple[Json | None, bytes, int]] = {}


def compiled(profile: Json | None, *, networked: bool | None) -> tuple[bytes, int]:
    """(the filter, its flags) of a profile, which is known by its identity.

    ``networked`` says of a container that PRoot shows its files whether it has a network (see ``viewplan.policy``), None of others.
    LaunchError for what the engine cannot do yet.
    """
    if profile is None and networked is None:
        return b"", 0
    known = _known.get((id(profile), networked))
    if known is None or known[0] is not profile:
        policy = profile or {}
        if networked is not None:
            from . import viewplan

            policy = viewplan.policy(profile, networked=networked)
        flags = seccomp.flags(policy)
        if flags & notify.NEW_LISTENER:
            raise LaunchError("system calls cannot be notified (SCMP_ACT_NOTIFY) yet", stage="seccomp")
        if len(_known) >= _MOST:
            _known.clear()
        program = seccomp.compile(policy, platform.machine(), traced=networked is not None)
        known = _known[id(profile), networked] = profile, program, flags
    return known[1], known[2]
