"""The trees that a container is shown: its own root, and what binds show of the host, of volumes and of other containers.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import inside, overlaynotes, syscalls
from ..linux.inside import FOLDER
from ..linux.syscalls import AT_FDCWD, AT_RECURSIVE, CLONE_NEWNS, MNT_DETACH, OPEN_TREE_CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mountplan import PlannedMount


def mount_root(folder: str, root: tuple[str, str, list[str], list[str]]) -> None:
    """Mount a root (kind, source, lower directories, options) over a folder."""
    kind, source, lowers, options = root
    if kind == "bind":
        tree = syscalls.open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE)
        target = os.open(folder, FOLDER)
        attach(tree, target)
        return
    _mount_overlay(folder, lowers, options)


def _mount_overlay(folder: str, lowers: list[str], options: list[str]) -> None:
    # Descriptors' short names stand for the paths: many layers then fit in mount(2)'s one page, no character needs an
    # escape, and the container does not read the host's paths in its mount table.
    opened = [os.open(path, FOLDER) for path in lowers]
    words = ["lowerdir=" + ":".join(f"/proc/self/fd/{number}" for number in opened)]
    for word in options:
        key, equals, value = word.partition("=")
        if key == "workdir" and "volatile" in options:  # of an earlier run
            overlaynotes.forget(value)
        if equals and key in {"upperdir", "workdir"}:
            opened.append(os.open(value, FOLDER))
            value = f"/proc/self/fd/{opened[-1]}"
        words.append(key + equals + value)
    data = ",".join(words)
    if len(data) >= 4096:  # mount(2) would cut it silently
        raise OSError(errno.E2BIG, f"{len(lowers)} layers are more than one mount can hold")
    syscalls.mount("overlay", folder, "overlay", 0, data)
    for number in opened:
        os.close(number)


def take(entry: PlannedMount) -> int:
    """A copy of the mount that a bind is to show; a path below the source (of a volume) is resolved inside it."""
    _, _, source, _, _, options, recursive, _, _ = entry
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
    for key, value in options:
        if key == "nbcontainers.process":
            return _take_from(value, source, flags)
        if key == "nbcontainers.subpath":
            return inside.copy_below(source, value, flags)
    return syscalls.open_tree(AT_FDCWD, source, flags)


def take_overlay(folder: str, options: list[tuple[str, str]]) -> int:
    """A copy of an overlay, or of a path below it; it is mounted over the container's folder for as long as that takes."""
    lowers = [value for key, value in options if key == "lowerdir"]
    below = next((value for key, value in options if key == "nbcontainers.subpath"), ".")
    rest = [
        f"{key}={value}" if value else key
        for key, value in options
        if key not in {"lowerdir", "nbcontainers.subpath", "idmap"}
    ]
    _mount_overlay(folder, lowers, rest)
    try:
        return inside.copy_below(folder, below, OPEN_TREE_CLONE)
    finally:
        syscalls.umount(folder, MNT_DETACH)


def _take_from(process: str, source: str, flags: int) -> int:
    """A copy of a mount of another container; only in its own mount namespace can it be taken (see open_tree(2))."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(other, CLONE_NEWNS)
    tree = syscalls.open_tree(AT_FDCWD, source, flags)
    syscalls.setns(own, CLONE_NEWNS)
    os.close(own)
    os.close(other)
    return tree


def attach(mount: int, target: int) -> None:
    """Hang a detached mount on a descriptor and close both."""
    syscalls.move_mount(mount, target)
    os.close(mount)
    os.close(target)


def unlike(is_directory: bool, destination: str) -> OSError:
    """The error of a folder that is to be mounted on a file, or a file on a folder."""
    what = "a folder" if is_directory else "a file"
    return NotADirectoryError(errno.ENOTDIR, f"{what} can only be mounted on {what}", destination)


def cover(tree: int, target: int, destination: str, is_directory: bool) -> None:
    """Hang what a bind shows on the descriptor of its place and close both; the error says so where that is no folder, or no file."""
    try:
        attach(tree, target)
    except OSError as error:
        if error.errno != errno.EINVAL or stat.S_ISDIR(os.fstat(target).st_mode) == is_directory:
            raise
        raise unlike(is_directory, destination) from error  # the kernel's word for it is that an argument is invalid
