"""Files that are made: whose they are at birth, and devices, which are an empty file with a record.

What root makes is root's and the kernel's business, but for folders that hand on a group that is not held.
"""

from __future__ import annotations

import _socket
import errno
import os
import stat
import struct

from ...linux import recorded, remote
from .caller import AT_FDCWD, Place, line
from .files import find, keep
from .world import CAP_MKNOD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .caller import Caller
    from .world import World

_O_TMPFILE = 0o20000000  # __O_TMPFILE, include/uapi/asm-generic/fcntl.h
_O_CREAT_TRUNC = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_FAMILY = struct.Struct("=H")
_LONGEST_ADDRESS, _LONGEST_NAME = 110, 107  # sizeof(struct sockaddr_un), and what its path holds before a zero


def _owner(world: World, caller: Caller, place: Place) -> tuple[int, int]:
    """Who owns what the caller makes there: itself, with the group of a set-group-id folder."""
    users, groups, *_ = world.people.of(caller.pid)
    above = place.path.rstrip(b"/").rpartition(b"/")[0] or b"/"
    record = find(world, Place(above, True))
    if record is not None and record[2] & stat.S_ISGID:
        return users[3], record[1]
    return users[3], groups[3]


def _permissions(caller: Caller, mode: int) -> int:
    """What the caller's umask leaves of a mode."""
    umask = int(line(caller.pid, b"Umask:")[0], 8)
    return mode & 0o7777 & ~umask


def _record(world: World, place: Place, owner: tuple[int, int]) -> None:
    status = os.stat(place.path, follow_symlinks=place.follow)
    keep(world, place, status, (*owner, status.st_mode, 0, 0))


# Files


def creat(world: World, caller: Caller) -> None:
    """creat(2)."""
    _open(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=True), _O_CREAT_TRUNC, caller.args[1])


def open_(world: World, caller: Caller) -> None:
    """open(2) that may make a file."""
    path, flags, mode = caller.args[:3]
    _open(world, caller, caller.place(AT_FDCWD, path, follow=True), flags, mode)


def openat(world: World, caller: Caller) -> None:
    """openat(2) that may make a file."""
    directory, path, flags, mode = caller.args[:4]
    _open(world, caller, caller.place(directory, path, follow=True), flags, mode)


def openat2(world: World, caller: Caller) -> None:
    """openat2(2): what its ``resolve`` forbids is left to the kernel, and so is then whose the file is."""
    directory, path, how = caller.args[:3]
    flags, mode, resolve = struct.unpack("=QQQ", remote.read(caller.pid, how, 24))
    if resolve or not flags & (os.O_CREAT | _O_TMPFILE):
        caller.listener.proceed(caller.call)
        return
    _open(world, caller, caller.place(directory, path, follow=True), flags, mode)


def _open(world: World, caller: Caller, place: Place, flags: int, mode: int) -> None:
    flags &= 0xFFFFFFFF
    inside = flags & _O_TMPFILE
    owner = _owner(world, caller, Place(place.path + b"/.", True) if inside else place)
    if owner in world.real or flags & os.O_PATH or not (inside or _is_free(place)):
        caller.listener.proceed(caller.call)
        return
    made = os.open(place.path, flags | os.O_CLOEXEC, _permissions(caller, mode))
    try:
        _record(world, Place(b"self/fd/%d" % made, True), owner)
        caller.listener.give(caller.call, made, close_on_exec=bool(flags & os.O_CLOEXEC))
    finally:
        os.close(made)


def _is_free(place: Place) -> bool:
    try:
        os.stat(place.path)
    except FileNotFoundError:
        return True
    return False


# Folders, links and others


def mkdir(world: World, caller: Caller) -> None:
    """mkdir(2)."""
    _mkdir(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=False), caller.args[1])


def mkdirat(world: World, caller: Caller) -> None:
    """mkdirat(2)."""
    directory, path, mode = caller.args[:3]
    _mkdir(world, caller, caller.place(directory, path, follow=False), mode)


def _mkdir(world: World, caller: Caller, place: Place, mode: int) -> None:
    owner = _owner(world, caller, place)
    if owner in world.real:
        caller.listener.proceed(caller.call)
        return
    os.mkdir(place.path, _permissions(caller, mode))
    _record(world, place, owner)
    caller.listener.succeed(caller.call)


def symlink(world: World, caller: Caller) -> None:
    """symlink(2)."""
    target, path = caller.args[:2]
    _symlink(world, caller, target, caller.place(AT_FDCWD, path, follow=False))


def symlinkat(world: World, caller: Caller) -> None:
    """symlinkat(2)."""
    target, directory, path = caller.args[:3]
    _symlink(world, caller, target, caller.place(directory, path, follow=False))


def _symlink(world: World, caller: Caller, target: int, place: Place) -> None:
    owner = _owner(world, caller, place)
    if owner in world.real:
        caller.listener.proceed(caller.call)
        return
    os.symlink(remote.read_text(caller.pid, target), place.path)
    _record(world, place, owner)
    caller.listener.succeed(caller.call)


def mknod(world: World, caller: Caller) -> None:
    """mknod(2)."""
    path, mode, device = caller.args[:3]
    _mknod(world, caller, caller.place(AT_FDCWD, path, follow=False), mode, device)


def mknodat(world: World, caller: Caller) -> None:
    """mknodat(2)."""
    directory, path, mode, device = caller.args[:4]
    _mknod(world, caller, caller.place(directory, path, follow=False), mode, device)


def _mknod(world: World, caller: Caller, place: Place, mode: int, device: int) -> None:
    owner = _owner(world, caller, place)
    mode &= 0o177777
    if not recorded.is_device(mode):
        if owner in world.real:
            caller.listener.proceed(caller.call)
            return
        os.mknod(place.path, stat.S_IFMT(mode) | _permissions(caller, mode))
        _record(world, place, owner)
        caller.listener.succeed(caller.call)
        return
    if not world.allows(caller.pid, world.people.of(caller.pid), CAP_MKNOD):
        raise OSError(errno.EPERM, "not root")
    permissions = _permissions(caller, mode)
    # As the kernel reads the number: new_decode_dev, include/linux/kdev_t.h.
    major, minor = (device & 0xFFF00) >> 8, (device & 0xFF) | ((device >> 12) & 0xFFF00)
    made = os.open(place.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, recorded.on_inode(permissions))
    try:
        status = os.fstat(made)
        keep(world, place, status, (*owner, stat.S_IFMT(mode) | permissions, major, minor))
    finally:
        os.close(made)
    caller.listener.succeed(caller.call)


def bind(world: World, caller: Caller) -> None:
    """bind(2) to a path, which makes a socket there.

    It is bound by the very name that the caller gave, for that is what getsockname(2) tells. Where this name would mean
    something else to the supervisor, or this host does not lend it the caller's socket, the kernel makes it, and it is root's.
    """
    descriptor, address, size = caller.args[:3]
    text = _bound(caller, address, size & 0xFFFFFFFF)
    if not text or (caller.is_moved and text.startswith(b"/")):
        caller.listener.proceed(caller.call)
        return
    place, folder = caller.named(AT_FDCWD, text, follow=False), b"%d/cwd" % caller.pid
    owner = _owner(world, caller, place)
    is_same = owner not in world.real and place.path in {text, folder + b"/" + text}
    end = _borrowed(caller, descriptor) if is_same else None
    if end is None:
        caller.listener.proceed(caller.call)
        return
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.umask(0o777 & ~_permissions(caller, 0o777))
        os.chdir(folder)
        end.bind(text)
    finally:
        os.umask(0)
        os.fchdir(here)
        os.close(here)
        end.close()
    _record(world, place, owner)
    caller.listener.succeed(caller.call)


def _bound(caller: Caller, address: int, size: int) -> bytes:
    """The path in an address; empty where it has none, or one that is too long for this process's own calls."""
    if not _FAMILY.size < size <= _LONGEST_ADDRESS:
        return b""
    known = remote.read(caller.pid, address, size)
    name = known[_FAMILY.size :].partition(b"\0")[0]
    return name if known.startswith(_FAMILY.pack(_socket.AF_UNIX)) and len(name) <= _LONGEST_NAME else b""


def _borrowed(caller: Caller, descriptor: int) -> _socket.socket | None:
    try:
        return caller.socket(descriptor)
    except OSError:
        return None


CALLS: dict[str, Callable[[World, Caller], None]] = {
    "creat": creat,
    "open": open_,
    "openat": openat,
    "openat2": openat2,
    "mkdir": mkdir,
    "mkdirat": mkdirat,
    "symlink": symlink,
    "symlinkat": symlinkat,
    "mknod": mknod,
    "mknodat": mknodat,
    "bind": bind,
}
