"""Places inside a container's root: found, made, and looked at before something is mounted there.

Every path is resolved with openat2(RESOLVE_IN_ROOT) against a descriptor of the root, so that no link of the image or of a
volume leads out (CVE-2021-30465). Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os

from . import syscalls
from .syscalls import AT_EMPTY_PATH, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

PROC_SUPER_MAGIC = 0x9FA0  # include/uapi/linux/magic.h
FOLDER = os.O_PATH | os.O_DIRECTORY
INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
NO_PROC = "/proc of the container is not a proc file system"
_MOST_LINKS = 40  # as many as the kernel follows
# Of /proc only these may be covered (by lxcfs, say); source: runc, libcontainer/rootfs_linux.go, checkProcMount.
_PROC_FILES = (
    *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"),
    *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
)


def look_up(root: int, path: str) -> int:
    """A descriptor of a path inside the root, -1 where there is none."""
    return syscalls.openat2(root, path, os.O_PATH, resolve=INSIDE, missing_ok=True)


def mount_point(root: int, path: str, is_directory: bool) -> int:
    """``make_target``, and EPERM where that is on procfs: an image's VOLUME over /proc/self/attr would get the writes by which
    a program is confined (CVE-2019-16884), one over /proc/sys those of kernel parameters.
    """
    target = make_target(root, path, is_directory)
    if syscalls.filesystem_type(target) == PROC_SUPER_MAGIC:
        proc, found = open_proc(root), os.fstat(target)
        for name in _PROC_FILES:
            allowed = look_up(proc, name)
            if allowed >= 0:
                is_it = os.path.samestat(found, os.fstat(allowed))
                os.close(allowed)
                if is_it:
                    break
        else:
            raise _untouchable()
        os.close(proc)
    return target


def refuse_proc(path: str, source: str) -> None:
    """The same of a path without links, where nothing is mounted in truth: a name is all that there is of it."""
    if path == "/proc" and source != path:
        raise OSError(errno.EINVAL, NO_PROC)
    if path.startswith("/proc/") and path.removeprefix("/proc/") not in _PROC_FILES:
        raise _untouchable()


def _untouchable() -> OSError:
    return OSError(errno.EPERM, f"of /proc only {', '.join(_PROC_FILES)} can be mounted on")


def make_target(root: int, path: str, is_directory: bool, links: int = 0) -> int:
    """A descriptor to mount on: what the path leads to inside the root, made (with its folders) where it is missing."""
    found = look_up(root, path)
    if found >= 0:
        return found
    parent = os.dup(root)
    walked = ""
    names = [name for name in path.split("/") if name]
    try:
        for number, name in enumerate(names):
            walked += "/" + name
            last = number == len(names) - 1
            found = look_up(root, walked) if len(names) > 1 else -1
            if found < 0:
                try:
                    _make(parent, name, is_directory or not last)
                except FileExistsError:
                    # A link whose target is missing: make the target, inside the root as the link means it.
                    link = os.readlink(name, dir_fd=parent)
                    if links >= _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                    whole = link if link.startswith("/") else f"{walked.rpartition('/')[0]}/{link}"
                    rest = "/".join(names[number + 1 :])
                    return make_target(root, f"{whole}/{rest}" if rest else whole, is_directory, links + 1)
                found = syscalls.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=STRICT)
            os.close(parent)
            parent = found
    except BaseException:
        os.close(parent)
        raise
    return parent


def _make(parent: int, name: str, is_directory: bool) -> None:
    if is_directory:
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))


def open_proc(root: int) -> int:
    """A descriptor of /proc, which must be procfs and its very root: else masks and parameters would land on files of the image."""
    descriptor = syscalls.openat2(root, "proc", FOLDER, resolve=INSIDE)
    if syscalls.filesystem_type(descriptor) != PROC_SUPER_MAGIC or os.fstat(descriptor).st_ino != 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, NO_PROC)
    return descriptor


def open_below(root: int, proc: int, path: str) -> int:
    """A descriptor of a path, below /proc in the one that was looked at; -1 where there is none."""
    return look_up(proc, path.removeprefix("/proc/")) if path.startswith("/proc/") else look_up(root, path)


def copy_below(source: str, path: str, flags: int) -> int:
    """A copy of the mount at a path below a folder, whatever links there say; see open_tree(2) for the flags."""
    top = os.open(source, FOLDER | os.O_CLOEXEC)
    try:
        found = syscalls.openat2(top, path, os.O_PATH, resolve=INSIDE)
    finally:
        os.close(top)
    try:
        return syscalls.open_tree(found, "", flags | AT_EMPTY_PATH)
    finally:
        os.close(found)
