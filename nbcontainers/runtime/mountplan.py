"""The mounts of a specification and of a root file system, read into what init does without a thought: flags, options, paths.

The words are those of mount(8) and of the OCI runtime specification, "Mounts": ``ro`` holds for the mount itself, ``rro`` for all
that is mounted below it, too.
"""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Sequence

from ..errors import LaunchError
from ..linux import cgroups, syscalls
from ..linux.mounts import SUBPATH
from ..oci.runtime import Mount

# (destination, kind or "bind", source, attributes set, attributes cleared, options, whether what is mounted below comes along,
#  attributes set on that too, propagation)
PlannedMount = tuple[str, str, str, int, int, list[tuple[str, str]], bool, int, int]

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
_RECURSIVE = {f"r{word}": on for word, (on, _) in _ATTRIBUTES.items() if word in ("ro", "nosuid", "nodev", "noexec")}
_BINDS = {"bind": False, "rbind": True}
_PROPAGATIONS = {
    "private": syscalls.MS_PRIVATE,
    "slave": syscalls.MS_SLAVE,
    "shared": syscalls.MS_SHARED,
    "unbindable": syscalls.MS_UNBINDABLE,
}
_SHARING = syscalls.MS_SHARED | syscalls.MS_SLAVE
IDMAP = "idmap"
"""An option of a bind or of the root: its files have the ids of the container's user namespace, and on the disk the host's."""
PROCESS = "nbcontainers.process"
"""An option of a bind: the source is a path as that process (by its pid) sees it, in its mount namespace."""


def root(rootfs: tuple[Mount, ...]) -> tuple[str, str, list[str], list[str]]:
    """(kind, source, lower directories, options) of the first mount, which is the root itself."""
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
        elif word != IDMAP:
            options.append(word)
    return "overlay", entry.source, lowers, options


def _split(value: str) -> list[str]:
    r"""The folders of ``lowerdir``: joined by colons, a colon of their own written as ``\:`` and a backslash doubled."""
    if "\\" not in value:
        return value.split(":")
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


def mounts(entries: Sequence[Mount], plan: cgroups.Plan) -> list[PlannedMount]:
    """Each mount, with what of the cgroup tree this container can be shown in place of a ``cgroup``."""
    found = []
    for entry in entries:
        made = planned(entry)
        if made[1] == "cgroup":
            source, options = _cgroup_view(plan)
            if not source:
                continue
            made = (*made[:2], source, *made[3:5], options, *made[6:])
        found.append(made)
    return found


@functools.lru_cache(maxsize=64)
def _read(words: tuple[str, ...]) -> tuple[int, int, int, int, bool | None, list[tuple[str, str]]]:
    """(attributes set, cleared, set on all below, propagation, whether a bind is recursive, options) of the words of a mount."""
    set_ = cleared = everywhere = 0
    propagation = syscalls.MS_PRIVATE | syscalls.MS_REC
    bind: bool | None = None
    options = []
    for word in words:
        if word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            set_, cleared = (set_ & ~off) | on, (cleared & ~on) | off
        elif word in _RECURSIVE:
            everywhere |= _RECURSIVE[word]
        elif word in _BINDS:
            bind = _BINDS[word]
        elif word in _PROPAGATIONS:
            propagation = _PROPAGATIONS[word]
        elif word.removeprefix("r") in _PROPAGATIONS:
            propagation = _PROPAGATIONS[word.removeprefix("r")] | syscalls.MS_REC
        else:
            key, _, value = word.partition("=")
            options.append((key, value))
    return set_, cleared, everywhere, propagation, bind, options


@functools.lru_cache(maxsize=256)
def planned(entry: Mount) -> PlannedMount:
    """A mount as its words say it."""
    set_, cleared, everywhere, propagation, bind, options = _read(entry.options)
    destination = absolute(entry.destination)
    if destination == "/":
        raise LaunchError("nothing can be mounted on /", stage="mount /")
    if bind is not None or entry.type == "bind":
        options = [(key, value) for key, value in options if key in (SUBPATH, PROCESS, IDMAP)]
        source = os.path.abspath(entry.source)
        return destination, "bind", source, set_, cleared, options, bool(bind), everywhere, propagation
    if entry.type == "overlay":
        folders = [("lowerdir", path) for key, value in options if key == "lowerdir" for path in _split(value)]
        options = [*folders, *(pair for pair in options if pair[0] != "lowerdir")]
        return destination, "overlay", "", set_, cleared, options, False, everywhere, propagation
    if propagation & ~syscalls.MS_REC != syscalls.MS_PRIVATE:
        raise LaunchError("only a bind can have a mount propagation of its own", stage=f"mount {destination}")
    # A new mount has no attributes to clear, and no time of access but relatime unless one is named.
    options = [("source", entry.source or entry.type), *options]
    return destination, entry.type, entry.source, set_ | everywhere, 0, options, False, 0, propagation


def check_propagation(entries: Sequence[PlannedMount], *, userns: bool) -> None:
    """LaunchError where a bind asks to share mounts with a source that does not: it would get none, and nobody would know."""
    for destination, kind, source, *_, propagation in entries:
        wanted = propagation & _SHARING
        if not wanted or kind != "bind":
            continue
        stage = f"mount {destination}"
        if wanted == syscalls.MS_SHARED and userns:
            raise LaunchError(
                "mounts of a container without privilege cannot be shared with the host",
                stage=stage,
                hint="rslave can be had",
            )
        point, tags = _mounted_at(source)
        if "shared:" not in tags and not (wanted == syscalls.MS_SLAVE and "master:" in tags):
            raise LaunchError(
                f"{source} is mounted on {point}, which is not a shared mount",
                stage=stage,
                hint=f"'mount --make-shared {point}' makes it one; see mount_namespaces(7)",
            )


def _mounted_at(path: str) -> tuple[str, str]:
    """(the mount point that a path of the host lies on, its propagation tags); see proc_pid_mountinfo(5)."""
    real, found = os.path.realpath(path), ("/", "")
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.partition(" - ")[0].split()
            point = fields[4].encode().decode("unicode_escape")
            if f"{real}/".startswith(f"{point.rstrip('/')}/") and len(point) >= len(found[0]):
                found = point, " ".join(fields[6:])
    return found


def _cgroup_view(plan: cgroups.Plan) -> tuple[str, list[tuple[str, str]]]:
    """What of the cgroup tree a container can be shown: that of the hierarchies in which it has a group of its own."""
    if plan.into:  # a host without v1
        return "cgroup2", []
    own = _v1_view(tuple([path.rpartition("/")[0] for path in plan.directories]))
    return ("cgroup", own) if own else ("", [])


@functools.lru_cache(maxsize=16)
def _v1_view(places: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, mount options) of each cgroup v1 hierarchy in which one of the places lies."""
    return [
        (posixpath.basename(point), options)
        for point, options in _v1_hierarchies()
        if any(f"{place}/".startswith(f"{point}/") for place in places)
    ]


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


def absolute(path: str) -> str:
    """A path from the root, without dots and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))  # POSIX keeps a double slash at the start
