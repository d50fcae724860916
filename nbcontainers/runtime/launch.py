"""A runtime specification compiled into what a shim and an init can execute without a thought: numbers, text and bytes.

Everything that can be decided before the fork is decided here, in the engine, where there is time and the whole library.
"""

from __future__ import annotations

import functools
import os
import platform
import posixpath
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from ..errors import HostError, LaunchError
from ..linux import capabilities, cgroups, idmap, seccomp, syscalls
from ..oci.runtime import Json, Mount, RuntimeSpec
from ..results import ContainerState
from . import log
from . import state as states
from .host import Host

# (destination, kind or "bind", source, attributes set, attributes cleared, options, whether what is mounted below comes along)
PlannedMount = tuple[str, str, str, int, int, list[tuple[str, str]], bool]


class Plan(TypedDict):
    """All that shim and init are told; it travels by ``marshal``."""

    folder: str
    log: str
    socket: str
    state: dict[str, Any]
    happenings: str
    detach: bool
    stdin: bool
    terminal: list[int]  # rows and columns, 0 where they are not known; empty for no terminal
    restart: tuple[str, int]
    log_options: tuple[int, int]
    health: dict[str, Any] | None
    # cgroups
    cgroup: str
    cgroup_directories: list[str]
    cgroup_writes: list[tuple[str, str]]
    join: list[str]
    into_cgroup: str
    oom_file: str
    limits: dict[str, Any]
    watched_memory: int
    # namespaces
    flags: int
    late_flags: int
    uid_map: str
    gid_map: str
    setgroups: str
    sets_groups: bool
    loopback: bool
    hostname: str
    domainname: str
    sysctl: list[tuple[str, str]]
    # files: kind, source, lower directories, options
    root: tuple[str, str, list[str], list[str]]
    root_attributes: int
    mounts: list[PlannedMount]
    bind_devices: bool
    masked_paths: list[str]
    readonly_paths: list[str]
    readonly_root: bool
    # the process
    args: list[bytes]
    env: dict[bytes, bytes]
    cwd: str
    umask: int
    user: str
    groups: list[str]  # further ones, looked up inside
    ids: tuple[int, int, list[int]]
    capabilities: int
    no_new_privs: bool
    seccomp: bytes
    seccomp_flags: int
    rlimits: list[tuple[int, int, int]]
    oom_score_adj: int | None


_FLAGS = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "user": syscalls.CLONE_NEWUSER,
    "time": syscalls.CLONE_NEWTIME,
}
# Words of mount(8) that are attributes of the mount, not options of the file system: (set, cleared).
_ATTRIBUTES = {
    "ro": (syscalls.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, syscalls.MOUNT_ATTR_RDONLY),
    "nosuid": (syscalls.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, syscalls.MOUNT_ATTR_NOSUID),
    "nodev": (syscalls.MOUNT_ATTR_NODEV, 0),
    "dev": (0, syscalls.MOUNT_ATTR_NODEV),
    "noexec": (syscalls.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, syscalls.MOUNT_ATTR_NOEXEC),
    "relatime": (0, 0),  # what the kernel does unasked
    "noatime": (syscalls.MOUNT_ATTR_NOATIME, syscalls.MOUNT_ATTR_ATIME),
    "strictatime": (syscalls.MOUNT_ATTR_STRICTATIME, syscalls.MOUNT_ATTR_ATIME),
}
_BINDS = {"bind": False, "rbind": True}
_PRIVATE = {"private", "rprivate"}
_SHARED = {"shared", "rshared", "slave", "rslave", "unbindable", "runbindable"}
_UNLIMITED = 1 << 63


def compile(  # noqa: A001 - it is what this does
    spec: RuntimeSpec,
    rootfs: tuple[Mount, ...],
    *,
    folder: Path,
    state: ContainerState,
    host: Host,
    socket: str,
    user: str = "",
    stdin: bool = False,
    detach: bool = False,
    size: tuple[int, int] = (0, 0),
    happenings: str = "",
) -> Plan:
    """Make the plan of one container.

    Raises:
        LaunchError: the specification asks for what this engine cannot do (another's namespace, shared mounts …).
        HostError: it asks for what this host cannot do.
    """
    host.require()
    kinds = _namespaces(spec, host)
    cgroup = state.id or folder.name
    plan = host.hierarchy.plan(cgroup, spec.resources, devices=not host.identity.userns)
    into, joined = _ways_in(plan, host.hierarchy)
    limits, notes, watched = _fall_back(spec, host)
    late = syscalls.CLONE_NEWCGROUP if "cgroup" in kinds and joined else 0
    flags = functools.reduce(lambda mask, kind: mask | _FLAGS[kind], kinds, 0) & ~late
    private_network = "network" in kinds
    if spec.sysctl and not private_network and any(name.startswith("net.") for name in spec.sysctl):
        raise LaunchError("network parameters (sysctl net.*) need a network of the container's own", stage="sysctl")
    program, program_flags = _filter(spec.seccomp)
    state_json = states.to_json(state)
    state_json.update(tier=host.tier, not_enforced=list(notes), lacks=list(host.notes()), detached=detach)
    process = spec.process
    return Plan(
        folder=str(folder),
        log=str(folder / log.NAME),
        socket=socket,
        state=state_json,
        happenings=happenings,
        detach=detach,
        stdin=stdin,
        terminal=list(size) if process.terminal else [],
        restart=state.restart,
        log_options=state.log_options,
        health=states.health_to_json(state.check) if state.check else None,
        cgroup=cgroup,
        cgroup_directories=list(plan.directories),
        cgroup_writes=list(plan.writes),
        join=joined,
        into_cgroup=into,
        oom_file=plan.oom_file,
        limits={"memory": spec.resources.memory, "pids": spec.resources.pids, "cpus": spec.resources.cpus},
        watched_memory=watched,
        flags=flags,
        late_flags=late,
        uid_map=idmap.text(spec.uid_mappings) if "user" in kinds else "",
        gid_map=idmap.text(spec.gid_mappings) if "user" in kinds else "",
        setgroups="deny" if "user" in kinds and os.geteuid() else "",
        sets_groups="user" not in kinds or not os.geteuid(),
        loopback=private_network,
        hostname=spec.hostname if "uts" in kinds else "",
        domainname=spec.domainname if "uts" in kinds else "",
        sysctl=sorted(spec.sysctl.items()),
        root=_root(rootfs),
        # Device nodes may lie in an image: where no rules say which can be opened, none of its can.
        root_attributes=0 if host.guards_devices() else syscalls.MOUNT_ATTR_NODEV,
        mounts=_mounts((*rootfs[1:], *spec.mounts), plan),
        bind_devices="user" in kinds,
        masked_paths=list(spec.masked_paths),
        readonly_paths=list(spec.readonly_paths),
        readonly_root=spec.readonly_root,
        args=[os.fsencode(word) for word in process.args],
        env={name: value for name, _, value in (os.fsencode(word).partition(b"=") for word in process.env)},
        cwd=_absolute(process.cwd),
        umask=0o022 if process.umask is None else process.umask,
        user=user,
        groups=list(state.groups),
        ids=(process.uid, process.gid, list(process.groups)),
        capabilities=_mask(process.capabilities),
        no_new_privs=process.no_new_privileges,
        seccomp=program,
        seccomp_flags=program_flags,
        rlimits=[*_rlimits(spec), *limits],
        oom_score_adj=process.oom_score_adj,
    )


def _namespaces(spec: RuntimeSpec, host: Host) -> list[str]:
    if not spec.process.args:
        raise LaunchError("no command was given", stage="specification", hint="name one, or set CMD in the image")
    joined = [entry.type for entry in spec.namespaces if entry.path]
    if joined:
        raise LaunchError(f"joining another's namespace is not supported yet: {joined[0]}", stage="specification")
    kinds = [entry.type for entry in spec.namespaces]
    if not {"mount", "pid"} <= set(kinds):
        raise LaunchError("a container needs mount and pid namespaces of its own", stage="specification")
    if host.identity.userns and "user" not in kinds:
        raise HostError(f"tier {host.tier} needs a user namespace", tier=host.tier)
    if "time" in host.namespaces and "time" not in kinds:
        kinds.append("time")  # left out of specifications, for runc 1.1 refuses it
    return list(kinds)


def _fall_back(spec: RuntimeSpec, host: Host) -> tuple[list[tuple[int, int, int]], tuple[str, ...], int]:
    """What stands in for limits that no cgroup holds: (rlimits, what to tell the user, bytes of memory to watch)."""
    limits: list[tuple[int, int, int]] = []
    watched = 0
    notes: list[str] = []
    asked = spec.resources
    for controller, value in (
        ("memory", asked.memory),
        ("pids", asked.pids),
        ("cpu", asked.cpu_quota or asked.cpu_shares),
        ("cpuset", asked.cpuset_cpus or asked.cpuset_mems),
    ):
        if not value or controller in host.hierarchy.controllers:
            continue
        notes.append(host.without(controller))
        if controller == "memory":
            watched = asked.memory or 0
        elif controller == "pids" and asked.pids and asked.pids > 0:
            limits.append((resource.RLIMIT_NPROC, asked.pids, asked.pids))
    return limits, tuple(notes), max(0, watched)


def _root(rootfs: tuple[Mount, ...]) -> tuple[str, str, list[str], list[str]]:
    if not rootfs or rootfs[0].destination != "/":
        raise LaunchError("the first mount of a root file system must be on /", stage="specification")
    entry = rootfs[0]
    if entry.type != "overlay":
        return "bind", entry.source, [], []
    lowers: list[str] = []
    options = []
    for word in entry.options:
        key, _, value = word.partition("=")
        if key == "lowerdir":
            lowers = _split(value)
        else:
            options.append(word)
    return "overlay", entry.source, lowers, options


def _split(value: str) -> list[str]:
    r"""The folders of ``lowerdir``: joined by colons, a colon of their own written as ``\:`` and a backslash doubled."""
    folders = [""]
    characters = iter(value)
    for character in characters:
        if character == "\\":
            folders[-1] += next(characters, "")
        elif character == ":":
            folders.append("")
        else:
            folders[-1] += character
    return folders


def _mounts(entries: Sequence[Mount], plan: cgroups.Plan) -> list[PlannedMount]:
    planned = []
    for entry in entries:
        destination, kind, source, set_, cleared, options, recursive = _mount(entry)
        if kind == "cgroup":
            source, options = _cgroup_view(plan)
            if not source:
                continue
        planned.append((destination, kind, source, set_, cleared, options, recursive))
    return planned


@functools.lru_cache(maxsize=256)
def _mount(entry: Mount) -> PlannedMount:
    set_ = cleared = 0
    bind: bool | None = None
    options = []
    for word in entry.options:
        if word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            set_, cleared = (set_ & ~off) | on, (cleared & ~on) | off
        elif word in _BINDS:
            bind = _BINDS[word]
        elif word in _SHARED:
            raise LaunchError(f"mount propagation {word!r} is not supported", stage=f"mount {entry.destination}")
        elif word not in _PRIVATE:
            key, _, value = word.partition("=")
            options.append((key, value))
    destination = _absolute(entry.destination)
    if destination == "/":
        raise LaunchError("nothing can be mounted on /", stage="mount /")
    if bind is not None or entry.type == "bind":
        return destination, "bind", os.path.abspath(entry.source), set_, cleared, [], bool(bind)
    # A new mount has no attributes to clear, and no time of access but relatime unless one is named.
    return destination, entry.type, entry.source, set_, 0, [("source", entry.source or entry.type), *options], False


def _cgroup_view(plan: cgroups.Plan) -> tuple[str, list[tuple[str, str]]]:
    """What of the cgroup tree a container can be shown: that of the hierarchies in which it has a group of its own."""
    if plan.into:  # a host without v1
        return "cgroup2", []
    own = [
        (posixpath.basename(point), options)
        for point, options in _v1_hierarchies()
        if any(directory.startswith(point + "/") for directory in plan.directories)
    ]
    return ("cgroup", own) if own else ("", [])


def _ways_in(plan: cgroups.Plan, hierarchy: cgroups.Hierarchy) -> tuple[str, list[str]]:
    """(the v2 directory to be born into or "", the files that init writes "0" to): the two ways that cost nothing.

    Moving a process takes a lock of the whole machine and waits for a grace period of RCU, 10 ms and more. A process born into
    its v2 group is not moved, and a thread that moves only itself (``tasks`` of v1) needs no lock: see
    cgroup_procs_write_start in kernel/cgroup/cgroup.c.
    """
    unified = hierarchy.parents.get(cgroups.UNIFIED)
    into = next((path for path in plan.directories if unified and posixpath.dirname(path) == unified), "")
    return into, [f"{path}/tasks" for path in plan.directories if path != into]


@functools.cache
def _v1_hierarchies() -> tuple[tuple[str, str], ...]:
    """(where it is mounted, its mount options) of each cgroup v1 hierarchy; see proc_pid_mountinfo(5)."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            if kind == "cgroup":
                words = [word for word in options.split(",") if word not in {"rw", "ro"}]
                found.append((before.split()[4], ",".join(words)))
    return tuple(found)


def _absolute(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))  # POSIX keeps a double slash at the start


@functools.lru_cache(maxsize=64)
def _mask(names: frozenset[str]) -> int:
    return capabilities.mask(names)


def _rlimits(spec: RuntimeSpec) -> list[tuple[int, int, int]]:
    planned = []
    for limit in spec.process.rlimits:
        number = getattr(resource, limit.type, None)
        if not limit.type.startswith("RLIMIT_") or number is None:
            raise LaunchError(f"there is no resource limit {limit.type!r}", stage="limits")
        soft, hard = (resource.RLIM_INFINITY if value >= _UNLIMITED else value for value in (limit.soft, limit.hard))
        planned.append((number, soft, hard))
    return planned


def _filter(profile: Json | None) -> tuple[bytes, int]:
    """(the compiled filter, its flags). Compiling takes longer than all the rest of a start, so each profile (by identity) is
    compiled once.
    """
    if profile is None:
        return b"", 0
    known = _filters.get(id(profile))
    if known is None or known[0] is not profile:
        flags = seccomp.flags(profile)
        if flags & _NEW_LISTENER:
            raise LaunchError("system calls cannot be notified (SCMP_ACT_NOTIFY) yet", stage="seccomp")
        if len(_filters) >= _MOST_FILTERS:
            _filters.clear()
        known = _filters[id(profile)] = profile, seccomp.compile(profile, platform.machine()), flags
    return known[1], known[2]


_filters: dict[int, tuple[Json, bytes, int]] = {}  # holds the profiles, so that no other gets one's identity
_MOST_FILTERS = 32
_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER, include/uapi/linux/seccomp.h
