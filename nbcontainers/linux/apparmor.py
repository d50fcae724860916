"""AppArmor as far as containers need it: whether it is active, and which profiles are loaded.

Source: Documentation/admin-guide/LSM/apparmor.rst; the change itself is made at exec, by ``runtime.becoming.confine``.
"""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path

from ..errors import NBContainersError

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


def is_active() -> bool:
    """Whether the kernel confines programs by profiles of AppArmor."""
    try:
        return _ENABLED.read_text().startswith("Y")
    except OSError:
        return False


def loaded(profile: str) -> str:
    """The name of a profile, if it can confine a container: NBContainersError where AppArmor is not active, or where it is seen
    that no such profile is loaded (only root sees the list).
    """
    if not is_active():
        raise NBContainersError(
            f"security option apparmor={profile}: AppArmor is not active on this host",
            hint="apparmor=unconfined is what holds here",
        )
    with contextlib.suppress(OSError):
        known = [line.rpartition(" (")[0] for line in _PROFILES.read_text().splitlines()]
        if profile not in known:
            near = difflib.get_close_matches(profile, known, n=1)
            raise NBContainersError(
                f"security option apparmor={profile}: no such profile is loaded",
                hint=f"did you mean {near[0]!r}?" if near else "load it with apparmor_parser(8); aa-status lists them",
            )
    return profile
