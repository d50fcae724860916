"""Files copied from tree to tree with all that they are; contents are shared where the file system can."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

from . import attributes
from .attributes import Attributes, Owners

_MOST = 1 << 30
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ELSEWHERE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})


def content(source: int, target: int) -> int:
    """Copy a file's content to its end, from where both stand, and return how many bytes it was.

    copy_file_range(2) makes a reflink on file systems that have them, and refuses some pairs of file systems: sendfile(2)
    takes any.
    """
    total = 0
    try:
        while count := os.copy_file_range(source, target, _MOST):
            total += count
    except OSError as error:
        if error.errno not in _ELSEWHERE:
            raise
    # It also answers 0 for files that have content but no size, as those of /proc.
    while count := os.sendfile(target, source, None, _MOST):
        total += count
    return total


def known(directory: int, name: bytes, status: os.stat_result) -> Attributes:
    """The truth about a name in a folder."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return attributes.of(status, directory, name)
    file = os.open(name, READ, dir_fd=directory)
    try:
        return attributes.read(file)
    finally:
        os.close(file)


def file(source: int, name: bytes, wanted: Attributes, directory: int, target: bytes, owners: Owners) -> int:
    """Copy what is no folder to a name that is free, with attributes that may differ; return the bytes of its content.

    Args:
        source: a descriptor of the folder that ``name`` is in (any, if that is absolute).
        name: what to copy; a link is copied, not followed. A socket is not copied.
        wanted: the attributes that the copy gets; its type is the source's.
        directory: a descriptor of the folder for the copy.
        target: its name there.
        owners: gives it its attributes.

    """
    if stat.S_ISLNK(wanted.mode):
        os.symlink(os.readlink(name, dir_fd=source), target, dir_fd=directory)
        named(directory, target, wanted, owners)
        return 0
    if not stat.S_ISREG(wanted.mode):
        special(directory, target, wanted, owners)
        return 0
    origin = os.open(name, READ, dir_fd=source)
    try:
        made = os.open(target, NEW, 0o600, dir_fd=directory)
        try:
            size = content(origin, made)
            finish(made, wanted, owners)
            return size
        finally:
            os.close(made)
    finally:
        os.close(origin)


def special(directory: int, name: bytes, wanted: Attributes, owners: Owners) -> None:
    """Make a pipe or a device. A socket becomes an empty file: nobody listens to the new one, and BuildKit has it so.

    A device that may not be made is an empty file with a record, and so is the device 0:0, which would be a whiteout.
    """
    if stat.S_ISSOCK(wanted.mode):
        _stand_in(directory, name, replace(wanted, mode=stat.S_IFREG | stat.S_IMODE(wanted.mode)), owners)
        return
    if stat.S_ISFIFO(wanted.mode):
        os.mkfifo(name, 0o600, dir_fd=directory)
    else:
        number = os.makedev(wanted.major, wanted.minor)
        try:
            if number == 0:
                raise PermissionError
            os.mknod(name, stat.S_IFMT(wanted.mode) | 0o600, number, dir_fd=directory)
        except PermissionError:
            _stand_in(directory, name, wanted, owners)
            return
    named(directory, name, wanted, owners)


def _stand_in(directory: int, name: bytes, wanted: Attributes, owners: Owners) -> None:
    made = os.open(name, NEW, 0o600, dir_fd=directory)
    try:
        finish(made, wanted, owners)
    finally:
        os.close(made)


def finish(made: int, wanted: Attributes, owners: Owners) -> None:
    """Give an open file its attributes and its time."""
    owners.give(made, wanted)
    os.utime(made, ns=(wanted.mtime_ns, wanted.mtime_ns))


def named(directory: int, name: bytes, wanted: Attributes, owners: Owners) -> None:
    """Give a link, pipe or device its owner and its time."""
    owners.give_name(directory, name, wanted)
    os.utime(name, ns=(wanted.mtime_ns, wanted.mtime_ns), dir_fd=directory, follow_symlinks=False)
