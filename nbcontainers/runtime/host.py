"""What this host allows, found by trying: the isolation tier, and what that means in plain words."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import HostError
from ..linux import capabilities, cgroups, hierarchies, idmap, landlock, mapping, smallfiles, syscalls
from ..linux.idmap import Identity
from ..results import Check, HostReport
from . import spawn

SUMMARIES: Mapping[str, str] = {
    "T0": "root: containers need no user namespace",
    "T1": "no privilege, but a range of ids: containers live in a user namespace with users of its own",
    "T2": "no privilege: containers live in a user namespace in which only root exists",
    "T3": "no privilege, and no proc file system of their own for containers (a pod that masks /proc)",
    "T4": "no user namespaces: containers run by PRoot and Landlock, which is no security boundary",
}
_REFUSED = "no user namespaces, and no PRoot: containers cannot run here"
_ANSWERED = (
    "other identities are recorded and answered (chown, setuid, mknod …), not enforced: what another user may not do he can, "
    "device nodes that are made are none, /proc/PID/status says that every process is root's, and so does a ps that reads that "
    "('nbcontainers top' and the owner of /proc/PID tell whose it is), and no container can be in the pid namespace of another"
)
TIER = "NBCONTAINERS_TIER"
_USERS: Mapping[str, str] = {"T0": "host", "T1": "range", "T2": "single", "T3": "single"}
_NEEDED = frozenset({"mounts", "proc", "devpts", "mqueue", "seccomp", "mount namespace", "pid namespace"})
ENABLE_NAMESPACES = (
    "enable user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns; in a container of Docker's "
    "--security-opt seccomp=unconfined)"
)
"""What who has no user namespaces can do about it."""
_VIEWED = (
    "security boundary: none. Containers are processes of this user, whom PRoot shows other files, and whom Landlock keeps from opening "
    "this host's: run only what you trust",
    "processes: containers see this host's /proc and /sys, read-only, with nothing of them hidden; their first process has the number "
    "that it has here, and is no init: signals that it does not handle end it",
    "mounts: a tmpfs and /dev/shm are folders on the disk whose size nothing keeps, and of a mount's options only ro, rw and "
    "the mode of a tmpfs hold",
    "system calls: those that PRoot need not know (statx, openat2 …) are answered as by an older kernel",
)
_FAKED = (
    "users: programs are told that they are root, or whom they are to be; what belongs to others they are told is root's, chown and "
    "setuid are answered and forgotten, and what this user may do any program may"
)
_SAME_USERS = (
    "users: root of a container is root here; a container that begins as another user is told that it is, and is root all the same, "
    "and device nodes of images can be opened"
)
_UNGUARDED = "files: this kernel lets us have no Landlock, so nothing keeps containers from this user's files but what PRoot shows"
_UNSCOPED = (
    "signals: Landlock is too old here (before Linux 6.12) to keep containers from ending other processes of this user"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """PRoot, which works: its path, the files that it reads for itself, and its loader; ``landlock`` is the ABI, 0 for none."""

    program: str
    files: tuple[str, ...]
    loader: bytes
    landlock: int


@dataclass(frozen=True, slots=True)
class Host:
    """What containers can have here. ``namespaces`` are the kinds that can be made, ``capabilities`` those that can be given."""

    tier: str
    identity: Identity
    hierarchy: cgroups.Hierarchy
    capabilities: frozenset[str]
    namespaces: frozenset[str]
    checks: tuple[Check, ...]
    viewer: Viewer | None = None
    """What shows containers their files at T4, where it works."""

    @property
    def is_viewed(self) -> bool:
        """Whether containers are to have no namespaces: see ``view``."""
        return self.tier == "T4"

    @property
    def summary(self) -> str:
        """The tier in a sentence."""
        return _REFUSED if self.is_viewed and self.viewer is None else SUMMARIES[self.tier]

    @property
    def has_single_id(self) -> bool:
        """Whether containers have one user only, so that others must be answered for (see ``identity``)."""
        return self.identity.is_single

    @property
    def counts_processes(self) -> bool:
        """Whether the kernel counts all processes of a container for RLIMIT_NPROC: they have one id, and not that of the host's root."""
        return self.has_single_id and not _is_hosts_root(self.identity.uid_mappings[0].host)

    def require(self) -> None:
        """HostError, with the reason and what to do, where this host cannot run containers."""
        if self.is_viewed and self.viewer is None:
            raise HostError(
                f"containers cannot run on this host, tier {self.tier}: {self._missing()}",
                tier=self.tier,
                hint=f"install proot, or {ENABLE_NAMESPACES}; images, layers and diffs work here",
            )

    def _missing(self) -> str:
        """What of the least that containers need is not there, in plain words."""
        refused = {check.name: check.detail for check in self.checks if not check.holds}
        needed = ["user namespace"] if "user namespace" in refused else sorted(_NEEDED & refused.keys())
        why = "; ".join(f"{name}: {refused[name]}" for name in (*needed, *({"PRoot"} & refused.keys())))
        lacks = self._lacks if "user namespace" in refused else ""
        return f"{lacks}, and no user namespace of its own ({why})" if lacks else why

    @property
    def _lacks(self) -> str:
        lacking = (check.detail for check in self.checks if check.name == _OF_ROOT and not check.holds)
        return next((f"root has {detail} here" for detail in lacking), "")

    def allows(self, name: str) -> bool:
        """Whether what was tried under this name holds."""
        return any(check.holds for check in self.checks if check.name == name)

    def guards_devices(self) -> bool:
        """Whether containers cannot open devices that they make or bring along: by rules, or because their root is no root."""
        return self.identity.userns or "devices" in self.hierarchy.controllers

    @property
    def shows_groups(self) -> bool:
        """Whether containers can be shown groups of their own: the v2 tree where there is no other, or those of v1 controllers."""
        return any(name != cgroups.UNIFIED or self.hierarchy.version == "v2" for name in self.hierarchy.parents)

    def notes(self) -> tuple[str, ...]:
        """What no container of this host can do, have or be protected by, in plain words."""
        notes = list(self._of_view()) if self.is_viewed else []
        if self.tier not in ("T0", "T4") and os.geteuid() == 0:
            why = self._lacks or ("" if self.allows("device nodes") else _NO_ROOT)
            notes += [f"{why}: containers live in a user namespace, as an ordinary user's do"] if why else []
            notes.append(_SAME_ROOT)
        if self.has_single_id:
            notes.append(_ANSWERED)
        if self.tier == "T3":
            notes.append(
                "processes: containers see the host's /proc, read-only (a proc file system of their own cannot be mounted), with "
                "its processes and their command lines, and their own under other numbers, so that ps of procps may fail; those of the "
                "profile sandbox see none"
            )
            notes.append(
                "kernel parameters and network interfaces: /proc and /sys are this host's, so no parameter can be set, and "
                "/sys/class/net does not list a container's own interfaces (ip and ifconfig do)"
            )
        if syscalls.prctl(syscalls.PR_GET_NO_NEW_PRIVS, 0):
            notes.append("no_new_privs: set around this process, so no program gets capabilities by its file inside")
        if not (self.identity.userns or self.is_viewed) and "CAP_NET_ADMIN" not in self.capabilities:
            notes.append("loopback: down in networks of their own, for root has no CAP_NET_ADMIN here")
        missing = sorted(capabilities.DOCKER - self.capabilities)
        if missing:
            notes.append(f"capabilities that cannot be given here: {', '.join(missing)}")
        if not (self.guards_devices() or self.is_viewed):
            notes.append("device rules: none can be set here, so device nodes of images cannot be opened")
        if shared := [kind for kind in _KINDS if kind not in self.namespaces]:
            notes.append(f"namespaces shared with the host: {', '.join(shared)}")
        unkept = [name for name in _INSTEAD if name not in self.hierarchy.controllers]
        notes += [self.without(name, is_answered=self.has_single_id) for name in unkept]
        if not (self.shows_groups or self.is_viewed):
            # At T3 /sys is the host's, with all that is mounted in it, and so it is in a network that is not a container's own.
            seen = "this host's" if self.tier == "T3" else "an empty folder, or this host's in a network not their own"
            notes.append(f"cgroup file system: none, so /sys/fs/cgroup is {seen} ({self.why_without_groups()})")
        return tuple(notes)

    def _of_view(self) -> tuple[str, ...]:
        """What is so where namespaces are missing, and a container can run all the same."""
        if self.viewer is None:
            return ()
        abi = self.viewer.landlock
        guard = (_UNGUARDED,) if not abi else () if landlock.keeps_signals(abi) else (_UNSCOPED,)
        return (*_VIEWED, _FAKED if os.geteuid() else _SAME_USERS, *guard)

    def why_without_groups(self) -> str:
        """Why containers can be shown no groups of their own."""
        return next(iter(self.hierarchy.refusals.values()), "no group can be made here")

    def without(self, controller: str, *, is_answered: bool) -> str:
        """What becomes here of a limit whose cgroup controller cannot be used, and why it cannot. A supervisor may answer for ids."""
        instead = {**_INSTEAD, **_INSTEAD_VIEWED} if self.is_viewed else _INSTEAD
        told = instead[controller]
        if controller == "pids" and not (self.counts_processes or self.is_viewed):
            told = _SUPERVISED if is_answered else told + _COUNTED
        return f"{told} ({self.why_without(controller)})"

    def why_without(self, controller: str) -> str:
        """Why a cgroup controller cannot be used here."""
        return self.hierarchy.refusals.get(controller) or "this host gives us no such controller"

    def way_out(self) -> Check:
        """Whether containers on networks reach the world, and by what."""
        from ..linux import firewall
        from . import uplink
        from .networks import way_out

        how, detail = way_out(self)
        if how == "kernel":
            translates = self.allows("address translation")
            if translates and (dropper := firewall.drops_forwarded()):
                return Check(name="way out of networks", holds=False, detail=uplink.dropped(dropper))
            detail = "by address translation" if translates else "the kernel has no packet filter for us (nf_tables)"
            return Check(name="way out of networks", holds=translates, detail=detail)
        return Check(name="way out of networks", holds=bool(how), detail=f"by {how}" if how else detail)

    def report(self) -> HostReport:
        """Everything for the eyes of the user."""
        controllers = ", ".join(sorted(self.hierarchy.controllers)) or "no controllers"
        return HostReport(
            tier=self.tier,
            summary=self.summary,
            checks=self.checks if self.is_viewed else (*self.checks, self.way_out()),
            not_enforced=self.notes(),
            kernel=platform.release(),
            cgroups=f"{self.hierarchy.version} ({controllers})",
        )


def _is_hosts_root(uid: int) -> bool:
    """Whether somebody is root to the kernel, which exempts that one from RLIMIT_NPROC. Source: getrlimit(2), user_namespaces(7)."""
    return uid == 0 and smallfiles.read("/proc/self/uid_map").split()[:2] == [b"0", b"0"]


_OF_ROOT = "capabilities of root"
_NO_ROOT = "root is that of a user namespace here, and may make no device"
_SAME_ROOT = "user ids: root of a container is root here to every file that it is shown, as Docker's is; that of the profile sandbox, too"
_KINDS = ("network", "ipc", "uts", "cgroup", "time")
_COUNTED = (
    ", which counts those of each user apart, the host's root's not at all: every 100 ms a container that has more in all is ended, "
    "later where a bomb of root's leaves no processor to look with"
)
_SUPERVISED = "processes are limited by the supervisor that answers for identities, not by a cgroup: exec begins one more all the same"
_INSTEAD: Mapping[str, str] = {
    "memory": "memory is watched, not enforced by the kernel: every 100 ms a container that holds more is ended; "
    "memfds, files in memory and System V segments count, but not what only a message on its way or a mapping without pages keeps",
    "pids": "processes are limited by RLIMIT_NPROC, not by a cgroup",
    "cpu": "cpu is not limited",
    "cpuset": "processors are chosen by sched_setaffinity, not by a cgroup, so a program can choose others for itself; memory "
    "nodes cannot be chosen",
    "io": "block devices are not limited",
}
_INSTEAD_VIEWED: Mapping[str, str] = {
    "memory": "memory is watched, not enforced by the kernel: every 100 ms a container that holds more is ended; memfds count, "
    "System V segments and what is on its way do not",
    "pids": "processes are counted, not limited: every 100 ms a container that has more is ended",
}


def probe(users: str = "") -> Host:
    """Find out what this host allows; once per process, in 50 ms. ``$NBCONTAINERS_TIER`` can ask for less than it does.

    ``users`` are those of a store that is there (``Identity.users``): its tier is kept though there is a better one by now.

    Everything is tried in a process spawned for it: this one is not changed and not forked.

    Raises:
        HostError: not even that process can be run, or the tier that is asked for cannot be had.
    """
    return _probe(os.environ.get(TIER, ""), users)


@functools.cache
def _probe(wanted: str, users: str) -> Host:
    checks = _try()
    holds = {check.name for check in checks if check.holds}
    ranged = idmap.delegated()
    refused = _try_range(ranged) if "user namespace" in holds else "no user namespace"
    tier = _chosen(wanted, users, _possible(holds, ranged=not refused))
    userns = tier not in ("T0", "T4")
    viewer, why = _try_view() if tier == "T4" else (None, "")
    if tier == "T4":
        abi = viewer.landlock if viewer else 0
        checks = (
            *checks,
            Check(name="PRoot", holds=viewer is not None, detail=why),
            Check(
                name="Landlock",
                holds=abi > 0,
                detail=f"ABI {abi}" if abi else "the kernel has none, or we may not have it",
            ),
        )
    hierarchy = hierarchies.detect()
    return Host(
        tier=tier,
        # Without namespaces the store does what it can as who we are.
        identity=ranged if tier == "T1" and ranged else idmap.single() if tier in {"T2", "T3"} else idmap.of_host(),
        hierarchy=hierarchy,
        capabilities=_capabilities(userns, "devices" in hierarchy.controllers),
        # Without them no container has one, though there may be some of a kind (as where T4 is asked for).
        namespaces=frozenset(
            () if tier == "T4" else (name.removesuffix(" namespace") for name in holds if name.endswith(" namespace"))
        ),
        checks=(*checks, Check(name="uid range", holds=not refused, detail=refused)),
        viewer=viewer,
    )


def _possible(holds: set[str], *, ranged: bool) -> tuple[str, ...]:
    """The tiers that this host gives, the best one first."""
    # Root of a user namespace that is around us (`unshare -r`, a rootless container) may mount, but is not everybody's root.
    found = ["T0"] if holds.issuperset({"root", _OF_ROOT, "device nodes"}) else []
    if "user namespace" in holds and holds.issuperset(_NEEDED):
        found += ["T1", "T2"] if ranged else ["T2"]
    elif "user namespace" in holds and holds.issuperset(_NEEDED - {"proc"}) and not found:
        found.append("T3")
    return (*found, "T4")


def _chosen(wanted: str, users: str, possible: tuple[str, ...]) -> str:
    """The tier that is wanted (HostError where this host does not give it), else the one of the store, else the best one."""
    if wanted and wanted not in possible:
        raise HostError(
            f"{TIER}={wanted}: this host gives {', '.join(possible)}",
            tier=possible[0],
            hint="leave it out for the best one",
        )
    kept = [tier for tier in possible if _USERS.get(tier) == users]
    return wanted or (kept or possible)[0]


def _capabilities(userns: bool, guarded: bool) -> frozenset[str]:
    """A new user namespace begins with every capability; outside of one nobody can give what he does not hold.

    Without device rules root could make a node for a disk and open it.
    """
    if not userns and os.geteuid() != 0:
        return frozenset()
    if not userns:
        return capabilities.bounding() - (frozenset() if guarded else {"CAP_MKNOD"})
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return capabilities.names((2 << int(file.read())) - 1)


def _try() -> tuple[Check, ...]:
    for sealed in (True, False):
        process = spawn.start("trial", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, sealed=sealed)
        output, _ = process.communicate(timeout=spawn.START_S)
        if process.returncode == 0:
            break
    else:
        raise HostError(f"the probe of this host ended with status {process.returncode}", hint="is /proc mounted?")
    checks = [Check(name=name, holds=holds, detail=detail) for name, holds, detail in json.loads(output)]
    return (
        *checks,
        Check(name="sealed interpreter", holds=sealed, detail="" if sealed else "run from its file on disk"),
    )


def _try_view() -> tuple[Viewer | None, str]:
    """PRoot, if it works, and why it does not."""
    proot = shutil.which("proot")
    if proot is None:
        return None, "there is none in PATH"
    with tempfile.TemporaryDirectory(prefix="nbc-proot-") as folder:
        process = spawn.start("viewtrial", stdin=subprocess.PIPE, stdout=subprocess.PIPE, sealed=False)
        output, _ = process.communicate(b"\0".join(map(os.fsencode, (proot, folder))), timeout=spawn.START_S)
        if process.returncode:
            return None, f"its trial ended with status {process.returncode}"
        why, abi, files = json.loads(output)
        if why:
            return None, why
        loader = smallfiles.read(f"{folder}/loader")
    return Viewer(program=os.path.realpath(proot), files=tuple(files), loader=loader, landlock=abi), ""


def _try_range(identity: Identity | None) -> str:
    """Map a range of ids and take on some of them: empty if that went well, else why not."""
    if identity is None:
        return "this user has no entry in /etc/subuid and /etc/subgid"
    process = spawn.start("ranged", stdin=subprocess.PIPE, stdout=subprocess.PIPE, sealed=False)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.read(4) != b"made":
            return "no user namespace"
        maps = idmap.text(identity.uid_mappings), idmap.text(identity.gid_mappings)
        mapping.write(process.pid, *maps, helped=identity.is_helped)
        process.stdin.write(b"m")
    except OSError as error:
        return error.strerror or str(error)
    finally:
        process.stdin.close()
        code = process.wait(spawn.START_S)
        process.stdout.close()
    return "" if code == 0 else "other ids cannot be taken on"
