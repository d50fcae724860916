"""What of a container is as it is for most containers, and can be made before anything else is known of it.

A container wants as a rule what the last one wanted: the same namespaces, groups of the same controllers, the same mounts of the
kernel's own file systems, the same masks. ``beforehand`` makes that while nobody waits; where it was not made, init makes it first.
"""

from __future__ import annotations

import functools
import os.path
from collections.abc import Sequence
from typing import TypedDict

from ..linux import cgroups, syscalls
from .mountplan import PlannedMount
from .rootfs import KERNELS

_HIDDEN = ("/proc/", "/sys/")  # where masks lie, which nothing that is mounted later is to uncover


class Groups(TypedDict):
    """Cgroups that a process is put into before it is known how they are limited. Their names are the container's."""

    directories: list[str]
    into: str  # the first of them, if a process can be born into it
    join: list[str]  # the files by which it joins the others
    late_flags: int  # namespaces that depend on that


class Pattern(TypedDict):
    """A part of the plan, with what must be the same in it."""

    flags: int
    uid_map: str
    gid_map: str
    helped_maps: bool
    groups: Groups
    loopback: bool
    bind_devices: bool
    mounts: list[PlannedMount]  # none: nothing can be made beforehand
    tops: list[str]  # those that are not on another of them
    sysctl: list[tuple[str, str]]
    masked_paths: list[str]
    readonly_paths: list[str]
    capabilities: int


def joinable(plan: cgroups.Plan, into: str, join: list[str], late_flags: int) -> Groups:
    """Those that can be joined beforehand: all, but none of v1 where one is a ``cpuset``, which takes nobody before it is filled."""
    filled = {path.rpartition("/")[0] for path, _ in plan.writes if "/cpuset." in path}
    if any(path.rpartition("/")[0] in filled for path in join):
        return Groups(directories=[into] if into else [], into=into, join=[], late_flags=0)
    return Groups(directories=list(plan.directories), into=into, join=join, late_flags=late_flags)


def called(wanted: Groups, name: str, other: str) -> Groups:
    """The same of a container with another name."""
    return Groups(
        directories=cgroups.renamed(wanted["directories"], name, other),
        into=cgroups.renamed([wanted["into"]], name, other)[0],
        join=cgroups.renamed(wanted["join"], name, other),
        late_flags=wanted["late_flags"],
    )


def leading(mounts: Sequence[PlannedMount], *, has_groups: bool) -> list[PlannedMount]:
    """The mounts that need nothing of the image or of the host, and come before all that do; of cgroups, with ``has_groups``.

    None where a later one would uncover masks, or sees mounts of the host as they come and go, or all that is mounted on its root:
    there these lie until they are wanted.
    """
    kernels = (*KERNELS, "cgroup") if has_groups else KERNELS
    found: list[PlannedMount] = []
    rest: list[PlannedMount] = []
    has_waited = False
    for entry in mounts:
        path, kind = entry[:2]
        is_own = kind in kernels or (kind == "tmpfs" and (path == "/dev" or path.startswith("/dev/")))
        if is_own and not has_waited:
            found.append(entry)
        else:
            rest.append(entry)
            has_waited = has_waited or kind != "cgroup"
    is_uncovered = any(entry[1] != "cgroup" and f"{entry[0]}/".startswith(_HIDDEN) for entry in rest)
    is_uncovered |= any(entry[0] == "/dev/null" for entry in rest)  # which masks are made of, and has to be looked at
    shares = any(entry[8] & ~syscalls.MS_REC not in (0, syscalls.MS_PRIVATE) for entry in rest)
    shows_root = any(entry[1] == "bind" and entry[6] and _is_root(entry[2]) for entry in rest)
    has_proc = any(entry[:2] == ("/proc", "proc") for entry in found)
    return found if has_proc and not (is_uncovered or shares or shows_root) else []


def tops(mounts: Sequence[PlannedMount]) -> list[str]:
    """Where those are mounted that are not on another of them."""
    paths = [entry[0] for entry in mounts]
    points = tuple(f"{path}/" for path in paths)
    return [path for path in paths if not path.startswith(points)]


@functools.lru_cache(maxsize=16)
def covered(paths: tuple[str, ...], tops: tuple[str, ...]) -> list[str]:
    """The paths that lie on one of the mounts that are at ``tops``."""
    points = tuple(f"{path}/" for path in tops)
    return [path for path in paths if path.startswith(points)] if points else []


@functools.cache
def _root() -> os.stat_result:
    return os.stat("/")


def _is_root(path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), _root())
    except OSError:  # which its mount will tell
        return False
