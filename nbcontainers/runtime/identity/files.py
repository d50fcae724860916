"""Whose files are: chown, chmod and mknod are recorded, and stat is answered from the record.

What the calls of a process that is not root may change is checked by its own ids, as the kernel would check it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from ...linux import recorded, syscalls
from ...linux.recorded import SET_ID, Record
from .caller import AT_FDCWD, Place
from .credentials import KEEP
from .world import CAP_CHOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .caller import Caller
    from .world import World

_PROC = b"/proc/"
_X86 = os.uname().machine == "x86_64"
_MODE, _IDS, _LONG = struct.Struct("=I"), struct.Struct("=II"), struct.Struct("=q")
# In struct stat; on x86-64 the number of links comes before the mode, elsewhere after it.
_MODE_AT, _IDS_AT, _SIZE_AT, _DEVICE_AT = (24, 28, 48, 40) if _X86 else (16, 24, 48, 32)
_NO_ATTRIBUTES = frozenset({errno.EOPNOTSUPP, errno.EPERM})
_STATX_MODE, _STATX_IDS, _STATX_DEVICE = 28, 20, 128


# What is recorded


def find(world: World, place: Place) -> Record | None:
    """The record of a file, if it has one."""
    found = recorded.read(place.path, follow=place.follow)
    if found is not None or not world.ledger:
        return found
    inode = os.stat(place.path, follow_symlinks=place.follow).st_ino
    return world.ledger.find(inode, AT_FDCWD, place.path, follow=place.follow)


def _look(world: World, place: Place) -> Record | None:
    """The record of a file, or what stands for one: a process's files in /proc belong to who the supervisor says it is."""
    found = find(world, place) if world.has_records else None
    if found is not None:
        return found
    status = os.stat(place.path, follow_symlinks=place.follow)
    return _of_process(world, place, status) if status.st_dev == world.processes else None


def _of_process(world: World, place: Place, status: os.stat_result) -> Record | None:
    path = _named(place)
    if not path.startswith(_PROC) or status.st_uid:  # a file that the kernel keeps from its process stays the kernel's
        return None
    folder = _PROC + path[len(_PROC) :].partition(b"/")[0]
    # Who sees the whole host's /proc sees others' processes, too.
    if not folder[len(_PROC) :].isdigit() or os.readlink(folder + b"/ns/user") != os.readlink(b"self/ns/user"):
        return None
    who = world.people.of_folder(folder)
    return (who[0][1], who[1][1], status.st_mode, 0, 0) if who else None


def _named(place: Place) -> bytes:
    """The path by which the kernel knows a file."""
    descriptor = os.open(place.path, os.O_PATH | os.O_CLOEXEC | (0 if place.follow else os.O_NOFOLLOW))
    try:
        return os.readlink(b"self/fd/%d" % descriptor)
    finally:
        os.close(descriptor)


def keep(world: World, place: Place, status: os.stat_result, record: Record | None) -> None:
    """Record the truth about a file; None takes it back: it is what the inode says."""
    if record is not None:
        world.record()
    is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if is_plain:
        try:
            if record is None:
                os.removexattr(place.path, recorded.NAME, follow_symlinks=place.follow)
            else:
                os.setxattr(place.path, recorded.NAME, recorded.text(record), follow_symlinks=place.follow)
            return
        except OSError as error:
            if error.errno == errno.ENODATA:
                return
            if error.errno != errno.EOPNOTSUPP:
                raise
    is_own = recorded.mount(place.path, follow=place.follow) == world.own_mount
    if is_own and record is not None:
        # One of a lower layer is brought into the tree's own: without it no line of the ledger would reach the next layer.
        os.chown(place.path, -1, -1, follow_symlinks=place.follow)
    below = _in_tree(world, place) if is_own else status.st_ino
    folder = world.beside if is_own else -1
    world.ledger.put(status.st_ino, AT_FDCWD, place.path, record, folder, follow=place.follow, kept=below)


def _in_tree(world: World, place: Place) -> int:
    """The number of an inode in the writable tree: an overlay goes on to show that of the layer that it was copied up from."""
    path = _named(place)
    try:
        return os.stat(path.lstrip(b"/"), dir_fd=world.tree, follow_symlinks=False).st_ino
    except OSError:
        return os.stat(place.path, follow_symlinks=place.follow).st_ino


def truth(status: os.stat_result, record: Record | None) -> Record:
    """What is true of a file of which the inode says ``status``."""
    if record is None:
        return status.st_uid, status.st_gid, status.st_mode, os.major(status.st_rdev), os.minor(status.st_rdev)
    return (*record[:2], recorded.mode(record, status.st_mode, status.st_size), *record[3:])


# chown


def chown(world: World, caller: Caller) -> None:
    """chown(2)."""
    _own(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=True), *caller.args[1:3])


def lchown(world: World, caller: Caller) -> None:
    """lchown(2)."""
    _own(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=False), *caller.args[1:3])


def fchown(world: World, caller: Caller) -> None:
    """fchown(2)."""
    _own(world, caller, caller.descriptor(caller.args[0]), *caller.args[1:3])


def fchownat(world: World, caller: Caller) -> None:
    """fchownat(2)."""
    directory, path, uid, gid, flags = caller.args[:5]
    _own(world, caller, _at(caller, directory, path, flags), uid, gid)


def _at(caller: Caller, directory: int, path: int, flags: int) -> Place:
    follow = not flags & syscalls.AT_SYMLINK_NOFOLLOW
    return caller.place(directory, path, follow=follow, empty=bool(flags & syscalls.AT_EMPTY_PATH))


def _own(world: World, caller: Caller, place: Place, uid: int, gid: int) -> None:
    status = os.stat(place.path, follow_symlinks=place.follow)
    record = find(world, place)
    was = truth(status, record)
    uid, gid = uid & KEEP, gid & KEEP
    owner = was[0] if uid == KEEP else uid, was[1] if gid == KEEP else gid
    credentials = world.people.of(caller.pid)
    if not world.allows(caller.pid, credentials, CAP_CHOWN):
        (*_, user), (*_, group), groups, _ = credentials
        if was[0] != user or owner[0] != was[0] or (owner[1] != was[1] and owner[1] not in {group, *groups}):
            raise OSError(errno.EPERM, "not the owner")
    is_stand_in = recorded.is_device(was[2]) and stat.S_ISREG(status.st_mode)
    if owner in world.real and not is_stand_in:
        if record is not None:
            keep(world, place, status, None)
        caller.listener.proceed(caller.call)  # the kernel can, and knows what else is to be looked at
        return
    mode = was[2]
    if not stat.S_ISDIR(mode) and mode & SET_ID:  # another's program would run as its new owner: chown(2)
        mode &= ~(SET_ID if mode & stat.S_IXGRP else stat.S_ISUID)
    if stat.S_ISREG(status.st_mode) and status.st_mode & SET_ID:
        os.chmod(place.path, recorded.on_inode(status.st_mode))
    keep(world, place, status, (*owner, mode, *was[3:]))
    caller.listener.succeed(caller.call)


# chmod


def chmod(world: World, caller: Caller) -> None:
    """chmod(2)."""
    _permit(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=True), caller.args[1])


def fchmod(world: World, caller: Caller) -> None:
    """fchmod(2)."""
    _permit(world, caller, caller.descriptor(caller.args[0]), caller.args[1])


def fchmodat(world: World, caller: Caller) -> None:
    """fchmodat(2), which has no flags."""
    directory, path, mode = caller.args[:3]
    _permit(world, caller, caller.place(directory, path, follow=True), mode)


def fchmodat2(world: World, caller: Caller) -> None:
    """fchmodat2(2)."""
    directory, path, mode, flags = caller.args[:4]
    _permit(world, caller, _at(caller, directory, path, flags), mode)


def _permit(world: World, caller: Caller, place: Place, mode: int) -> None:
    record = find(world, place)
    if record is None or not place.follow:  # a link has no permissions
        caller.listener.proceed(caller.call)
        return
    status = os.stat(place.path)
    os.chmod(place.path, recorded.on_inode(stat.S_IFMT(status.st_mode) | mode & 0o7777))
    keep(world, place, status, (*record[:2], stat.S_IFMT(record[2]) | mode & 0o7777, *record[3:]))
    caller.listener.succeed(caller.call)


# stat


def status(world: World, caller: Caller) -> None:
    """stat(2) of old: a path and a buffer."""
    _tell(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=True), caller.args[1])


def lstatus(world: World, caller: Caller) -> None:
    """lstat(2)."""
    _tell(world, caller, caller.place(AT_FDCWD, caller.args[0], follow=False), caller.args[1])


def fstatus(world: World, caller: Caller) -> None:
    """fstat(2)."""
    _tell(world, caller, caller.descriptor(caller.args[0]), caller.args[1])


def newfstatat(world: World, caller: Caller) -> None:
    """fstatat(2)."""
    directory, path, buffer, flags = caller.args[:4]
    _tell(world, caller, _at(caller, directory, path, flags), buffer)


def statx(world: World, caller: Caller) -> None:
    """statx(2)."""
    directory, path, flags, mask, buffer = caller.args[:5]
    place = _at(caller, directory, path, flags)
    record = _look(world, place)
    if record is None:
        caller.listener.proceed(caller.call)
        return
    real = os.stat(place.path, follow_symlinks=place.follow)
    answer = syscalls.statx(AT_FDCWD, place.path, (flags & ~syscalls.AT_EMPTY_PATH & ~0x100) | place.flags, mask)
    mode = recorded.mode(record, real.st_mode, real.st_size)
    struct.pack_into("=II", answer, _STATX_IDS, *record[:2])
    struct.pack_into("=H", answer, _STATX_MODE, mode)
    if recorded.is_device(mode):
        struct.pack_into("=II", answer, _STATX_DEVICE, *record[3:])
    caller.write(buffer, bytes(answer))
    caller.listener.succeed(caller.call)


def _tell(world: World, caller: Caller, place: Place, buffer: int) -> None:
    record = _look(world, place)
    if record is None:
        caller.listener.proceed(caller.call)
        return
    answer = syscalls.newfstatat(AT_FDCWD, place.path, place.flags)
    (real,) = _MODE.unpack_from(answer, _MODE_AT)
    mode = recorded.mode(record, real, *_LONG.unpack_from(answer, _SIZE_AT))
    _MODE.pack_into(answer, _MODE_AT, mode)
    _IDS.pack_into(answer, _IDS_AT, *record[:2])
    if recorded.is_device(mode):
        _LONG.pack_into(answer, _DEVICE_AT, os.makedev(*record[3:]))
    caller.write(buffer, answer)
    caller.listener.succeed(caller.call)


ASKING = frozenset({"stat", "lstat", "fstat", "newfstatat", "statx"})
"""Those to which the kernel has the right answer as long as nothing is recorded."""

CALLS: dict[str, Callable[[World, Caller], None]] = {
    "chown": chown,
    "lchown": lchown,
    "fchown": fchown,
    "fchownat": fchownat,
    "chmod": chmod,
    "fchmod": fchmod,
    "fchmodat": fchmodat,
    "fchmodat2": fchmodat2,
    "stat": status,
    "lstat": lstatus,
    "fstat": fstatus,
    "newfstatat": newfstatat,
    "statx": statx,
}
