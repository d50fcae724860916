r"""Mounts as images and containers speak of them, made: overlays of any number of layers, and binds.

An overlay's folders stand in its options as mount(2) has them: ``lowerdir=`` with the topmost first, joined by colons, a colon
of a path itself written as ``\:`` and a backslash doubled. This module is the one place that writes and reads that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..oci.runtime import Mount
from . import inside, syscalls

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PAGE = 4096
_GUARDED = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
SUBPATH = "nbcontainers.subpath"
"""An option of a bind or an overlay: what is shown lies there below the source, and is resolved inside it."""
_GUARDS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


@dataclass(frozen=True, slots=True)
class Overlay:
    """The folders of an overlay: ``lower`` from the top down; ``upper`` and ``work`` are empty if it cannot be written to.

    What is written to a ``volatile`` one is not brought to the disk, neither by fsync(2) nor when it is unmounted, which else
    waits for all that anybody has written to that disk. Its folders can be mounted once; then ``overlaynotes.forget``.
    Source: Documentation/filesystems/overlayfs.rst, "Volatile mount".
    """

    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""
    volatile: bool = False

    def readable(self) -> Overlay:
        """The same tree, not to be written to: its upper directory may be another mount's at the same time."""
        return Overlay((self.upper, *self.lower)) if self.upper else self


def overlay(lower: Sequence[str], upper: str = "", work: str = "", *, volatile: bool = False) -> Mount:
    """The mount of an overlay as a root. ``userxattr`` is always set: there is one form on disk, root's and a user's."""
    options = ["lowerdir=" + ":".join(folder.replace("\\", "\\\\").replace(":", "\\:") for folder in lower)]
    if upper:
        options += [f"upperdir={upper}", f"workdir={work}", *(["volatile"] if volatile else [])]
    return Mount(destination="/", type="overlay", source="overlay", options=(*options, "userxattr"))


def bind(source: str) -> Mount:
    """The mount of a folder as a root."""
    return Mount(destination="/", type="bind", source=source, options=("rbind", "rw"))


def parse(mount: Mount) -> Overlay:
    """The folders that an overlay mount's options name."""
    words = dict(option.partition("=")[::2] for option in mount.options)
    # No path has a zero byte: with one, what was escaped is told from the colons between them.
    parts = words.get("lowerdir", "").replace("\\\\", "\0/").replace("\\:", "\0;").split(":")
    folders = (part.replace("\0;", ":").replace("\0/", "\\") for part in parts)
    return Overlay(tuple(folders), words.get("upperdir", ""), words.get("workdir", ""), "volatile" in words)


def detached(tree: Overlay, scratch: str) -> int:
    """Mount an overlay where nobody sees it and return a descriptor of its root; it is gone when that is closed.

    Args:
        tree: its folders.
        scratch: an empty folder, over which it is mounted for an instant on kernels before 6.5, in this mount namespace.

    Raises:
        OSError: the kernel or the file system does not allow it.

    """
    with _short_names(tree) as (lower, rest):
        try:
            return syscalls.fsmount("overlay", [*(("lowerdir+", name) for name in lower), *rest], _GUARDED)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
        _mount(lower, rest, scratch, _GUARDS)
        try:
            return os.open(scratch, _FOLDER)
        finally:
            syscalls.umount(scratch, syscalls.MNT_DETACH)


def attach(mount: Mount, target: str, *, guarded: bool = False) -> None:
    """Mount an overlay or a bind over a folder, in this process's mount namespace.

    On a ``guarded`` overlay no program, device or set-id bit of it counts.
    """
    if mount.type == "bind":
        syscalls.mount(mount.source, target, "", syscalls.MS_BIND | syscalls.MS_REC)
        return
    with _short_names(parse(mount)) as (lower, rest):
        try:
            made = syscalls.fsmount(
                "overlay", [*(("lowerdir+", name) for name in lower), *rest], _GUARDED if guarded else 0
            )
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            _mount(lower, rest, target, _GUARDS if guarded else 0)
            return
        place = os.open(target, _FOLDER)
        try:
            syscalls.move_mount(made, place)
        finally:
            os.close(place)
            os.close(made)


def cover(root: int, bind: Mount) -> None:
    """Show a bind, or an overlay that is only read, at its place in a tree, which is made where it is missing; nothing where its source
    is not there any more.

    ``root`` is a descriptor of a mount's root that hangs in this mount namespace: the bind goes when that is unmounted.
    """
    words = dict(word.partition("=")[::2] for word in bind.options)
    flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE
    try:
        if bind.type == "overlay":
            tree = _taken(bind, words.get(SUBPATH, "."))
        elif SUBPATH in words:
            tree = inside.copy_below(bind.source, words[SUBPATH], flags)
        else:
            tree = syscalls.open_tree(syscalls.AT_FDCWD, bind.source, flags)
    except FileNotFoundError:
        return
    try:
        if not words.keys().isdisjoint(("ro", "rro")):
            whole = syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE
            syscalls.mount_setattr(tree, "", whole, set_=syscalls.MOUNT_ATTR_RDONLY)
        place = inside.make_target(root, bind.destination, stat.S_ISDIR(os.fstat(tree).st_mode))
        try:
            syscalls.move_mount(tree, place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


def _taken(mount: Mount, below: str) -> int:
    """A copy of an overlay, or of a path below it; it hangs over its lowest folder for an instant, in this mount namespace."""
    place = parse(mount).lower[-1]
    attach(mount, place, guarded=True)
    try:
        return inside.copy_below(place, below, syscalls.OPEN_TREE_CLONE)
    finally:
        syscalls.umount(place, syscalls.MNT_DETACH)


@contextlib.contextmanager
def _short_names(tree: Overlay) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """The folders as /proc/self/fd/N: fsconfig(2) takes 255 bytes for each, mount(2) one page for all, and both then need no escapes."""
    with contextlib.ExitStack() as opened:

        def short(path: str) -> str:
            descriptor = os.open(path, _FOLDER)
            opened.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        rest = [("upperdir", short(tree.upper)), ("workdir", short(tree.work))] if tree.upper else []
        rest += [("volatile", "")] if tree.volatile else []
        yield [short(path) for path in tree.lower], [*rest, ("userxattr", "")]


def _mount(lower: Sequence[str], rest: Sequence[tuple[str, str]], target: str, flags: int) -> None:
    words = ["lowerdir=" + ":".join(lower), *(f"{key}={value}" if value else key for key, value in rest)]
    data = ",".join(words)
    if len(data) >= _PAGE:  # mount(2) would cut it off silently
        raise OSError(errno.E2BIG, f"{len(lower)} layers are more than one mount can hold on this kernel")
    syscalls.mount("overlay", target, "overlay", flags, data)
