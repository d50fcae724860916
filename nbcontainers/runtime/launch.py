"""A runtime specification compiled into what a shim and an init can execute without a thought: numbers, text and bytes.

Everything that can be decided before the fork is decided here, in the engine, where there is time and the whole library.
"""

from __future__ import annotations

import functools
import marshal
import os
import posixpath
import resource
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import HostError, LaunchError
from ..linux import capabilities, cgroups, idmap, syscalls
from ..oci.runtime import Mount, RuntimeSpec
from ..results import ContainerState
from . import fallback, filters, log, mountplan, pattern
from . import state as states
from .host import Host
from .identity import policy
from .identity.credentials import RLIMIT_LOCKS
from .identity.policy import IdentityPlan
from .pattern import Pattern
from .plan import Plan

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
_UNLIMITED = 1 << 63
TIME_LIMIT = "nbcontainers.time-limit"
"""The annotation with the seconds after which a run of the container is ended."""
OUTPUT_LIMIT = "nbcontainers.output-limit"
"""The annotation with the bytes of output after which a run of the container is ended."""
WORKDIR = "nbcontainers.workdir"
"""The annotation that says ``user`` where a working directory that is missing is to be the user's, not root's."""

STRICT = "nbcontainers.strict"
"""The annotation that makes it an error that something is not enforced."""


def not_enforced(spec: RuntimeSpec, host: Host) -> tuple[str, ...]:
    """Which limits of a specification no cgroup of this host holds, and what stands in for them, in plain words."""
    return fallback.limits(spec, host)[1]


def refusal(sentences: Sequence[str], host: Host) -> HostError:
    """The error for what a strict container asks for and cannot have."""
    return HostError(
        f"not enforced on this host, tier {host.tier}: {'; '.join(sentences)}",
        tier=host.tier,
        hint="without --strict it runs all the same; 'nbcontainers doctor' tells what holds here",
    )


def compile(  # noqa: A001 - it is what this does
    spec: RuntimeSpec,
    rootfs: tuple[Mount, ...],
    *,
    folder: Path,
    state: ContainerState,
    host: Host,
    socket: str,
    user: str = "",
    groups: Sequence[str] = (),
    stdin: bool = False,
    detach: bool = False,
    size: tuple[int, int] = (0, 0),
    happenings: str = "",
    ports: Sequence[tuple[str, int, int, str]] = (),
    entered: Sequence[int] = (),
    networked: bool = False,
    not_enforced: Sequence[str] = (),
    lacks: Sequence[str] = (),
    next_name: str = "",
) -> Plan:
    """Make the plan of one container.

    ``entered`` are the flags of the namespaces around the container's own that the shim goes into first, and ``networked`` says
    that a holder plugs it into networks (see ``networks``). ``next_name`` is what the container is called that may come next.

    Raises:
        LaunchError: the specification asks for what this engine cannot do (another's namespace, shared mounts …).
        HostError: it asks for what this host cannot do.
    """
    host.require()
    shown = None
    if host.viewer is not None:
        from . import viewplan

        shown = viewplan.view(spec, rootfs, folder, host.viewer)
        not_enforced = (*viewplan.not_kept(shown), *not_enforced)
    kinds = [] if shown else _namespaces(spec, host)
    joined_kinds = [entry.type for entry in spec.namespaces if entry.path]
    owner = _owner(spec, host) if "user" in kinds else []
    cgroup = state.id or folder.name
    nested = any(one & syscalls.CLONE_NEWUSER for one in entered)
    plan, into, joined, shelves = _grouping(spec, cgroup, host)
    rlimits = _rlimits(spec)
    mounts = [] if shown else mountplan.mounts((*rootfs[1:], *spec.mounts), plan)
    answered = _identity(spec, rootfs, mounts, host, rlimits)
    limits, notes, watched_memory, watched_processes = fallback.limits(spec, host)
    late = syscalls.CLONE_NEWCGROUP if "cgroup" in kinds and joined else 0
    flags = functools.reduce(lambda mask, kind: mask | _FLAGS[kind], kinds, 0) & ~late
    private_network = "network" in kinds
    if spec.sysctl and not private_network and any(name.startswith("net.") for name in spec.sysctl):
        raise LaunchError("network parameters (sysctl net.*) need a network of the container's own", stage="sysctl")
    if spec.sysctl and host.tier in ("T3", "T4"):
        why = f"cannot be set on this host, tier {host.tier}: containers see this host's /proc, read-only"
        raise LaunchError(f"kernel parameters {why}", stage="sysctl", hint="leave --sysctl out")
    program, program_flags = filters.compiled(
        spec.seccomp, networked=spec.namespace("network") is None if shown else None
    )
    state_json = states.to_json(state)
    unenforced = dict.fromkeys((*state.not_enforced, *notes, *not_enforced))  # some of it was known when it was made
    state_json.update(tier=host.tier, not_enforced=list(unenforced), lacks=[*host.notes(), *lacks], detached=detach)
    # How the last run ended says nothing of this one.
    state_json.update(ports=ports, exit_code=None, out_of_memory=False, error="", stopped=False)
    if unenforced and spec.annotations.get(STRICT) == "true":
        raise refusal(tuple(unenforced), host)
    process = spec.process
    if groups and (host.has_single_id or shown) and answered is None:
        raise LaunchError(
            "additional groups cannot be had without privilege (setgroups is denied)",
            stage="user",
            hint="leave out --group-add",
        )
    is_common = not (owner or entered or joined_kinds or spec.cgroups_path) and "pid" in kinds
    early = pattern.joinable(plan, into, joined, late)
    first = pattern.leading(mounts, has_groups=bool(early["directories"])) if is_common else []
    tops = pattern.tops(first)
    masked, readonly = (pattern.covered(paths, tuple(tops)) for paths in (spec.masked_paths, spec.readonly_paths))
    is_apart = spec.namespace("user") is not None
    mountplan.check_propagation(mounts, userns=is_apart)
    root, maps_root = mountplan.root(rootfs), mountplan.IDMAP in rootfs[0].options
    if not owner and (maps_root or any((mountplan.IDMAP, "") in entry[5] for entry in mounts)):
        raise LaunchError(
            "an id-mapped mount needs the host's root, and a user namespace of the container's own",
            stage="specification",
            hint="leave idmap out, or run as root with --userns auto",
        )
    uid_map = idmap.text(spec.uid_mappings, nested=nested) if "user" in kinds else ""
    gid_map = idmap.text(spec.gid_mappings, nested=nested) if "user" in kinds else ""
    helped_maps = host.identity.is_helped and not nested  # in there the shim may map what is mapped
    sysctl = sorted(spec.sysctl.items())
    return Plan(
        folder=str(folder),
        log=f"{folder}/{log.NAME}",
        socket=socket,
        state=state_json,
        happenings=happenings,
        detach=detach,
        stdin=stdin,
        stdin_lasts=process.terminal or "stdin" not in state.attached,
        terminal=list(size) if process.terminal else [],
        restart=state.restart,
        log_options=state.log_options,
        health=states.health_to_json(state.check) if state.check else None,
        cgroup=cgroup,
        cgroup_directories=list(plan.directories),
        cgroup_places=list(plan.places),
        cgroup_shelves=list(shelves),
        cgroup_writes=list(plan.writes),
        cgroup_devices=plan.devices,
        join=joined,
        into_cgroup=into,
        oom_file=plan.oom_file,
        limits=_shown(spec),
        watched_memory=watched_memory,
        watched_processes=watched_processes,
        time_limit=float(spec.annotations.get(TIME_LIMIT, 0)),
        output_limit=int(spec.annotations.get(OUTPUT_LIMIT, 0)),
        pattern=Pattern(
            flags=flags,
            uid_map=uid_map,
            gid_map=gid_map,
            helped_maps=helped_maps,
            groups=early,
            loopback=private_network and not networked,
            bind_devices=is_apart,
            mounts=first,
            tops=tops,
            sysctl=sysctl if first else [],
            masked_paths=masked,
            readonly_paths=readonly,
            capabilities=_mask(process.capabilities),
        ),
        next_groups=pattern.called(early, cgroup, next_name) if next_name else None,
        flags=flags,
        late_flags=late,
        enter=[
            (entry.path, _FLAGS[entry.type])
            for entry in spec.namespaces
            if entry.path and entry.type not in ("pid", "mount", "user")
        ],
        pid_namespace=next((entry.path for entry in spec.namespaces if entry.path and entry.type == "pid"), ""),
        shares_pids="pid" not in kinds,
        uid_map=uid_map,
        gid_map=gid_map,
        helped_maps=helped_maps,
        sets_groups=not host.has_single_id or (not os.geteuid() and "CAP_SETGID" in capabilities.bounding()),
        owner=owner,
        maps_root=maps_root,
        entered=list(entered),
        networked=networked,
        hostname=spec.hostname if "uts" in kinds else "",
        domainname=spec.domainname if "uts" in kinds else "",
        sysctl=[] if first else sysctl,
        root=root,
        # Device nodes may lie in an image: where no rules say which can be opened, none of its can.
        root_attributes=0 if host.guards_devices() else syscalls.MOUNT_ATTR_NODEV,
        mounts=[entry for entry in mounts if entry not in first],
        devices=[] if shown else _devices(spec, host),
        masked_paths=[path for path in spec.masked_paths if path not in masked],
        readonly_paths=[path for path in spec.readonly_paths if path not in readonly],
        readonly_root=spec.readonly_root,
        view=shown,
        args=[os.fsencode(word) for word in process.args],
        env={name: value for name, _, value in (os.fsencode(word).partition(b"=") for word in process.env)},
        cwd=mountplan.absolute(process.cwd),
        cwd_is_users=spec.annotations.get(WORKDIR) == "user",
        umask=0o022 if process.umask is None else process.umask,
        user=user,
        groups=list(groups),
        ids=(process.uid, process.gid, list(process.groups)),
        capabilities=_mask(process.capabilities),
        no_new_privs=process.no_new_privileges,
        apparmor=process.apparmor_profile,
        seccomp=program,
        seccomp_flags=program_flags,
        identity=answered,
        rlimits=[*(limit for limit in rlimits if limit[0] != RLIMIT_LOCKS or answered is None), *limits],
        processors=fallback.processors(spec, host),
        oom_score_adj=process.oom_score_adj,
    )


def _owner(spec: RuntimeSpec, host: Host) -> list[int]:
    """(uid, gid) of the host that root in a user namespace of root's is; none where everybody lives in one."""
    if host.identity.userns:
        return []
    found = [
        entry.host
        for mappings in (spec.uid_mappings, spec.gid_mappings)
        for entry in mappings
        if entry.container == 0 and entry.size
    ]
    if len(found) != 2:
        raise LaunchError("a user namespace needs maps in which root has an id", stage="specification")
    return found


def _namespaces(spec: RuntimeSpec, host: Host) -> list[str]:
    if not spec.process.args:
        raise LaunchError("no command was given", stage="specification", hint="name one, or set CMD in the image")
    kinds = [entry.type for entry in spec.namespaces if not entry.path]
    joined = [entry.type for entry in spec.namespaces if entry.path]
    userns = "user" in kinds
    lives_in_others = "user" in joined and host.identity.userns
    if joined and (userns or {"mount", "time"} & set(joined) or ("user" in joined and not lives_in_others)):
        raise LaunchError(f"another's namespace cannot be joined here: {joined[0]}", stage="specification")
    if "mount" not in kinds:
        raise LaunchError("a container needs a mount namespace of its own", stage="specification")
    if "pid" not in kinds and userns:
        raise LaunchError("in a user namespace a container needs a pid namespace of its own", stage="specification")
    if host.identity.userns and not userns and not lives_in_others:
        raise HostError(f"tier {host.tier} needs a user namespace", tier=host.tier)
    if "time" in host.namespaces and "time" not in kinds:
        kinds.append("time")  # left out of specifications, for runc 1.1 refuses it
    return list(kinds)


def _identity(
    spec: RuntimeSpec,
    rootfs: tuple[Mount, ...],
    mounts: Sequence[mountplan.PlannedMount],
    host: Host,
    rlimits: Sequence[tuple[int, int, int]],
) -> IdentityPlan | None:
    """The supervisor's part, where there is one."""
    if not fallback.is_answered(spec, host):
        return None
    kind, source, lowers, options = mountplan.root(rootfs)
    upper = next((word.partition("=")[2] for word in options if word.startswith("upperdir=")), "")
    others = {mount.destination for mount in spec.mounts if mount.type in ("bind", "overlay", "none")}
    images = [path for entry in mounts if entry[1] == "overlay" for key, path in entry[5] if key == "lowerdir"]
    return policy.plan(
        [*([source] if kind == "bind" else [upper or lowers[0], *lowers]), *images],
        is_alone=others <= policy.OWN,
        capabilities=_mask(spec.process.capabilities),
        no_new_privs=spec.process.no_new_privileges,
        locks=next(((soft, hard) for number, soft, hard in rlimits if number == RLIMIT_LOCKS), None),
        most=fallback.uncounted(spec, host),
    )


def _devices(spec: RuntimeSpec, host: Host) -> list[tuple[str, int, int, int, int, int]]:
    if spec.devices and spec.namespace("user"):
        raise LaunchError(
            "device nodes cannot be made in a user namespace", stage="devices", hint="bind the host's node instead"
        )
    kinds = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}
    return [
        (
            mountplan.absolute(node.path),
            kinds[node.type] | node.mode & 0o7777,
            node.major,
            node.minor,
            node.uid,
            node.gid,
        )
        for node in spec.devices
    ]


def _grouping(spec: RuntimeSpec, name: str, host: Host) -> tuple[cgroups.Plan, str, list[str], tuple[str, ...]]:
    """(the plan of its groups, the two ways into them, what was made above them)."""
    hierarchy, shelves = host.hierarchy, tuple[str, ...]()
    if spec.cgroups_path:
        hierarchy, shelves = hierarchy.below(posixpath.dirname(spec.cgroups_path))
    plan = hierarchy.plan(name, spec.resources, devices=not host.identity.userns)
    return plan, *_ways_in(plan, hierarchy), shelves


def changes(spec: RuntimeSpec, name: str, host: Host) -> bytes:
    """What a shim has to know of limits that were changed while its container runs: see ``groups.take_changes``."""
    plan, _, joined, _ = _grouping(spec, name, host)
    return marshal.dumps(
        {
            "cgroup_directories": list(plan.directories),
            "cgroup_writes": list(plan.writes),
            "join": joined,
            "limits": _shown(spec),
        }
    )


def _shown(spec: RuntimeSpec) -> dict[str, Any]:
    return {"memory": spec.resources.memory, "pids": spec.resources.pids, "cpus": spec.resources.cpus}


def _ways_in(plan: cgroups.Plan, hierarchy: cgroups.Hierarchy) -> tuple[str, list[str]]:
    """(the v2 directory to be born into or "", the files that init writes "0" to): the two ways that cost nothing.

    Moving a process takes a lock of the whole machine and waits for a grace period of RCU, 10 ms and more. A process born into
    its v2 group is not moved, and a thread that moves only itself (``tasks`` of v1) needs no lock: see
    cgroup_procs_write_start in kernel/cgroup/cgroup.c.
    """
    unified = hierarchy.parents.get(cgroups.UNIFIED)
    into = next((path for path in plan.directories if path.rpartition("/")[0] == unified), "")
    return into, [f"{path}/tasks" for path in plan.directories if path != into]


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
