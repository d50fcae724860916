"""What this host allows, found by trying: the isolation tier, and what that means in plain words."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import HostError
from ..linux import capabilities, cgroups, idmap
from ..linux.idmap import Identity
from ..results import Check, HostReport
from . import spawn

SUMMARIES: Mapping[str, str] = {
    "T0": "root: everything holds",
    "T2": "no privilege: containers live in a user namespace in which only root exists",
    "T3": "no privilege, and no proc file system of their own for containers (a pod that masks /proc)",
    "T4": "no user namespaces: containers cannot run here",
}
_NEEDED = ("mounts", "proc", "devpts", "mqueue", "seccomp", "mount namespace", "pid namespace")
_ADVICE = {
    "T3": "run the pod with procMount: Unmasked, or use another host; images, layers and diffs work here",
    "T4": "enable user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns); "
    "images, layers and diffs work here",
}


@dataclass(frozen=True, slots=True)
class Host:
    """What containers can have here. ``namespaces`` are the kinds that can be made, ``capabilities`` those that can be given."""

    tier: str
    identity: Identity
    hierarchy: cgroups.Hierarchy
    capabilities: frozenset[str]
    namespaces: frozenset[str]
    checks: tuple[Check, ...]

    def require(self) -> None:
        """HostError, with the reason and what to do, where this host cannot run containers."""
        if self.tier not in {"T0", "T2"}:
            refused = "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.holds)
            raise HostError(
                f"containers cannot run on this host, tier {self.tier} ({refused})",
                tier=self.tier,
                hint=_ADVICE.get(self.tier, ""),
            )

    def allows(self, name: str) -> bool:
        """Whether what was tried under this name holds."""
        return any(check.holds for check in self.checks if check.name == name)

    def guards_devices(self) -> bool:
        """Whether containers cannot open devices that they make or bring along: by rules, or because their root is no root."""
        return self.identity.userns or "devices" in self.hierarchy.controllers

    def notes(self) -> tuple[str, ...]:
        """What no container of this host can do or is protected by, whatever its limits, in plain words."""
        notes = []
        if self.identity.userns:
            notes.append(
                "other identities: chown, setuid and setgid to ids other than 0 fail with EINVAL (they are not emulated yet)"
            )
        missing = sorted(capabilities.DOCKER - self.capabilities)
        if missing:
            notes.append(f"capabilities that cannot be given here: {', '.join(missing)}")
        if not self.guards_devices():
            notes.append("device rules: none can be set here, so device nodes of images cannot be opened")
        notes += [f"{kind} namespace: shared with the host" for kind in _KINDS if kind not in self.namespaces]
        return tuple(notes)

    def without(self, controller: str) -> str:
        """What becomes here of a limit whose cgroup controller cannot be used, and why it cannot."""
        return f"{_INSTEAD[controller]} ({self.hierarchy.refusals.get(controller) or 'this host gives us no such controller'})"

    def _way_out(self) -> Check:
        """Whether containers on networks reach the world, and by what."""
        from .networks import way_out

        how, detail = way_out(self)
        if how == "kernel":
            translates = self.allows("address translation")
            detail = "by address translation" if translates else "the kernel has no packet filter for us (nf_tables)"
            return Check(name="way out of networks", holds=translates, detail=detail)
        return Check(name="way out of networks", holds=bool(how), detail=f"by {how}" if how else detail)

    def report(self) -> HostReport:
        """Everything for the eyes of the user."""
        missing = [name for name in _INSTEAD if name not in self.hierarchy.controllers]
        controllers = ", ".join(sorted(self.hierarchy.controllers)) or "no controllers"
        return HostReport(
            tier=self.tier,
            summary=SUMMARIES[self.tier],
            checks=(*self.checks, self._way_out()),
            not_enforced=(*self.notes(), *(self.without(name) for name in missing)),
            kernel=platform.release(),
            cgroups=f"{self.hierarchy.version} ({controllers})",
        )


_KINDS = ("network", "ipc", "uts", "cgroup", "time")
_INSTEAD: Mapping[str, str] = {
    "memory": "memory is watched, not enforced by the kernel: every 100 ms a container whose processes use more is ended",
    "pids": "processes are limited by RLIMIT_NPROC, not by a cgroup",
    "cpu": "cpu is not limited",
    "cpuset": "processors cannot be chosen",
    "io": "block devices are not limited",
}


@functools.cache
def probe() -> Host:
    """Find out what this host allows; once per process, in 50 ms.

    Everything is tried in a process spawned for it: this one is not changed and not forked.

    Raises:
        HostError: not even that process can be run.
    """
    checks = _try()
    holds = {check.name for check in checks if check.holds}
    userns = "root" not in holds
    if not {"root", "user namespace"} & holds:
        tier = "T4"
    elif userns:
        tier = "T2" if holds.issuperset(_NEEDED) else "T3" if "mounts" in holds else "T4"
    else:
        tier = "T0"
    hierarchy = cgroups.detect()
    return Host(
        tier=tier,
        identity=idmap.single() if userns else idmap.of_host(),
        hierarchy=hierarchy,
        capabilities=_capabilities(userns, "devices" in hierarchy.controllers),
        namespaces=frozenset(name.removesuffix(" namespace") for name in holds if name.endswith(" namespace")),
        checks=(*checks, _id_range(userns)),
    )


def _capabilities(userns: bool, guarded: bool) -> frozenset[str]:
    """A new user namespace begins with every capability; outside of one nobody can give what he does not hold.

    Without device rules root could make a node for a disk and open it.
    """
    if not userns:
        return capabilities.bounding() - (frozenset() if guarded else {"CAP_MKNOD"})
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return capabilities.names((2 << int(file.read())) - 1)


def _try() -> tuple[Check, ...]:
    for sealed in (True, False):
        process = spawn.start("trial", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, sealed=sealed)
        output, _ = process.communicate(timeout=30)
        if process.returncode == 0:
            break
    else:
        raise HostError(f"the probe of this host ended with status {process.returncode}", hint="is /proc mounted?")
    checks = [Check(name=name, holds=holds, detail=detail) for name, holds, detail in json.loads(output)]
    return (
        *checks,
        Check(name="sealed interpreter", holds=sealed, detail="" if sealed else "run from its file on disk"),
    )


def _id_range(userns: bool) -> Check:
    """Whether the user has a range of ids (/etc/subuid) and newuidmap to map them: tier T1, which is not used yet."""
    if not userns:
        return Check(name="uid range", holds=True, detail="root has every id")
    uid, names = os.geteuid(), {str(os.geteuid())}
    try:
        import pwd

        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    import shutil

    try:
        with open("/etc/subuid") as file:
            has_range = any(line.split(":")[0] in names for line in file)
    except OSError:
        has_range = False
    if has_range and shutil.which("newuidmap"):
        return Check(name="uid range", holds=True, detail="not used yet: containers run with the single id of T2")
    return Check(name="uid range", holds=False, detail="no entry in /etc/subuid" if not has_range else "no newuidmap")
