"""What an engine tells a container's shim and init, compiled by ``launch``: numbers, text and bytes."""

from __future__ import annotations

from typing import Any, TypedDict

from .identity.policy import IdentityPlan
from .mountplan import PlannedMount
from .pattern import Groups, Pattern


class Shown(TypedDict):
    """The tree of a container where nothing can be mounted, and what is shown in it. Paths are the host's, but for those of binds."""

    root: str
    binds: list[
        tuple[str, str, bool]
    ]  # path of the host, of the container, whether it may be written; outer ones first


class View(Shown):
    """How a container is shown its files there: see ``view``."""

    program: str  # PRoot
    loader: str  # and its loader, a copy that no other container has: by it their processes are told apart
    folder: str  # in the container's own, for all of this
    emptied: list[tuple[str, int]]  # folders that each run finds empty, and their modes
    landlock: int  # the ABI, 0 for none
    rules: list[tuple[str, bool]]  # what Landlock allows: path, whether it may be written


class Plan(TypedDict):
    """All that shim and init are told; it travels by ``marshal``."""

    folder: str
    log: str
    socket: str
    state: dict[str, Any]
    happenings: str
    detach: bool
    stdin: bool
    stdin_lasts: bool  # the end of a client's is not the end of it
    terminal: list[int]  # rows and columns, 0 where they are not known; empty for no terminal
    restart: tuple[str, int]
    log_options: tuple[int, int]
    health: dict[str, Any] | None
    # cgroups
    cgroup: str
    cgroup_directories: list[str]
    cgroup_places: list[str]  # where it may get groups later
    cgroup_shelves: list[str]  # above those, to be removed too where they were made for this container
    cgroup_writes: list[tuple[str, str]]
    cgroup_devices: tuple[str, bytes] | None  # the v2 directory that a program guards, and the program
    join: list[str]
    into_cgroup: str
    oom_file: str
    limits: dict[str, Any]
    watched_memory: int
    watched_processes: int  # with their threads; these two are 0 where they are not the shim's to watch
    time_limit: float
    output_limit: int
    # namespaces
    pattern: Pattern  # what is made first, and may be there already
    next_groups: Groups | None  # the pattern's, of the container that is made next; None: its name is not known
    flags: int
    late_flags: int
    enter: list[tuple[str, int]]  # namespaces of others: those that init enters
    pid_namespace: str  # another's, into which it is born
    shares_pids: bool
    uid_map: str
    gid_map: str
    helped_maps: bool
    sets_groups: bool
    owner: list[int]  # uid and gid of the host that its root is, where root gives it a user namespace of its own
    maps_root: bool  # the root's folders are id-mapped
    entered: list[int]  # flags for setns, of each descriptor that the shim enters
    networked: bool  # a holder plugs it in
    hostname: str
    domainname: str
    sysctl: list[tuple[str, str]]  # these, the mounts, and the masks are those that the pattern leaves
    # files: kind, source, lower directories, options
    root: tuple[str, str, list[str], list[str]]
    root_attributes: int
    mounts: list[PlannedMount]
    devices: list[tuple[str, int, int, int, int, int]]  # path, type and mode, major, minor, uid, gid
    masked_paths: list[str]
    readonly_paths: list[str]
    readonly_root: bool
    view: View | None  # in place of namespaces and mounts
    # the process
    args: list[bytes]
    env: dict[bytes, bytes]
    cwd: str
    cwd_is_users: bool  # where it is made
    umask: int
    user: str
    groups: list[str]
    ids: tuple[int, int, list[int]]
    capabilities: int
    no_new_privs: bool
    apparmor: str  # the profile that its commands are confined by
    seccomp: bytes
    seccomp_flags: int
    identity: IdentityPlan | None
    rlimits: list[tuple[int, int, int]]
    processors: list[int]  # empty: all
    oom_score_adj: int | None
