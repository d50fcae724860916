"""The container that nobody asked anything special of: Docker's defaults, as far as the host goes along.

Source: moby, oci/defaults.go and daemon/oci_linux.go; the table in the project's sandbox policy.
"""

from __future__ import annotations

import functools
import glob
import platform
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from ..linux import capabilities as caps
from ..linux import seccomp
from ..linux.idmap import Identity
from ..oci.resources import Resources
from ..oci.runtime import Device, Mount, Namespace, NamespaceType, Process, Rlimit, RuntimeSpec
from .host import Host

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NAMESPACES: tuple[NamespaceType, ...] = ("mount", "pid", "uts", "ipc", "network", "cgroup")
SHM_SIZE = 64 << 20
_GUARDED = ("nosuid", "noexec", "nodev")


def docker_spec(
    *,
    args: Sequence[str],
    host: Host,
    env: Sequence[str] = (),
    cwd: str = "/",
    hostname: str = "",
    network: Literal["none", "host", "bridge"] = "none",
    capabilities: Collection[str] = caps.DOCKER,
    resources: Resources | None = None,
    readonly_root: bool = False,
    mounts: Sequence[Mount] = (),
    no_new_privileges: bool = False,
    apparmor_profile: str = "",
    umask: int | None = None,
    rlimits: Sequence[Rlimit] = (),
    oom_score_adj: int | None = None,
    shm_size: int = SHM_SIZE,
    cgroups_path: str = "",
    identity: Identity | None = None,
    covered: Collection[str] = (),
    devices: Sequence[Device] = (),
    domainname: str = "",
    annotations: Mapping[str, str] | None = None,
    terminal: bool = False,
) -> RuntimeSpec:
    """The runtime specification of a container with Docker's defaults.

    Args:
        args: the command; ``args[0]`` is looked up in the container's PATH.
        env: ``NAME=value``; PATH is added where it is missing.
        capabilities: names as in ``CAP_CHOWN``; those that this host does not hold are left out (``Host.report`` names them).
        network: ``none`` is a namespace with a loopback interface only, ``bridge`` one for a holder to plug into networks, ``host``
            the network that its parent has: the host's own, or that of a namespace which its shim enters.
        identity: how it sees ids; without one as everybody on this host.
        mounts: the user's, after the defaults; one on the destination of a default (``/dev/shm``) takes its place.
        covered: destinations of defaults that are left out, for others will take their places.
    """
    identity = identity or host.identity
    # A user namespace of its own begins with every capability, over what belongs to it.
    held = frozenset(capabilities) & (host.capabilities if identity == host.identity else caps.ALL)
    private_network = network != "host" and "network" in host.namespaces
    kinds = [kind for kind in NAMESPACES if kind in host.namespaces and (kind != "network" or private_network)]
    if host.is_viewed and network == "none":
        kinds.append("network")  # which is kept by a policy of system calls there
    if identity.userns:
        kinds.append("user")
    given = {*covered, *(mount.destination for mount in mounts)}
    usual = _mounts(host.tier, identity.holds(0, 5), identity.userns, private_network, shm_size)
    defaults = [mount for mount in usual if mount.destination not in given]
    return RuntimeSpec(
        process=Process(
            args=tuple(args),
            terminal=terminal,
            env=tuple(env) if any(word.startswith("PATH=") for word in env) else (f"PATH={PATH}", *env),
            cwd=cwd,
            groups=(
                0,
            ),  # the first group is one of its groups, so that what is denied to it is denied (CVE-2022-36109)
            umask=umask,
            capabilities=held,
            no_new_privileges=no_new_privileges,
            apparmor_profile=apparmor_profile,
            rlimits=tuple(rlimits),
            oom_score_adj=oom_score_adj,
        ),
        hostname=hostname if "uts" in kinds else "",
        domainname=domainname,
        annotations=annotations or {},
        readonly_root=readonly_root,
        mounts=(*defaults, *mounts),
        devices=tuple(devices),
        namespaces=tuple(Namespace(type=kind) for kind in kinds),
        uid_mappings=identity.uid_mappings,
        gid_mappings=identity.gid_mappings,
        resources=resources or Resources(),
        cgroups_path=cgroups_path,
        seccomp=_seccomp(held),
        masked_paths=(*MASKED, *_thermal()),
        readonly_paths=READONLY,
        sysctl=_sysctl(identity) if private_network and host.tier != "T3" else {},
    )


@functools.lru_cache(maxsize=16)
def _mounts(tier: str, has_tty: bool, has_userns: bool, private_network: bool, shm_size: int) -> tuple[Mount, ...]:
    # A group that the user namespace does not map cannot own the terminals.
    terminal = ("gid=5",) if has_tty else ()
    devices = Mount(
        destination="/dev",
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    )
    pts = Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *terminal),
    )
    memory = Mount(
        destination="/dev/shm",
        type="tmpfs",
        source="shm",
        options=(*_GUARDED, "mode=1777", f"size={-(-shm_size // 1024)}k"),
    )
    if tier == "T4":
        return _shown("/proc"), devices, pts, _shown("/sys"), memory
    system = (
        Mount(destination="/sys", type="sysfs", source="sysfs", options=(*_GUARDED, "ro"))
        # sysfs belongs to a network namespace: who shares one that is not his gets the host's, by a bind.
        if (private_network and tier != "T3") or not has_userns
        else _shown("/sys")
    )
    return (
        # Where none of its own can be mounted it sees the host's, in which nothing can be set (oom_score_adj …).
        _shown("/proc") if tier == "T3" else Mount(destination="/proc", type="proc", source="proc", options=_GUARDED),
        devices,
        pts,
        system,
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_GUARDED, "ro")),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_GUARDED),
        memory,
    )


@functools.cache
def _thermal() -> tuple[str, ...]:
    """Counters of each processor, by which containers could watch each other."""
    return tuple(sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")))


def _shown(path: str) -> Mount:
    """A folder of the host's with all that is mounted in it, to be looked at."""
    return Mount(
        destination=path, type="none", source=path, options=("rbind", *(f"r{word}" for word in (*_GUARDED, "ro")))
    )


def _sysctl(identity: Identity) -> dict[str, str]:
    """Ping without privilege, and low ports for everybody: harmless in a network of one's own. Only mapped groups can be named."""
    last = next((number for number in (2147483647, 65535) if identity.holds(0, number)), 0)
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"}


@functools.cache
def _seccomp(capabilities: frozenset[str]) -> dict[str, Any]:
    """One object for each set of capabilities: ``launch`` compiles it once."""
    return dict(seccomp.docker_profile(capabilities, platform.machine()))
