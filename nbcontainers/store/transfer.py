"""Contents moved from file to file by the kernel: shared where the file system can, copied without passing through Python else."""

from __future__ import annotations

import errno
import os

from . import attributes
from .attributes import Owners

_MOST = 1 << 30
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


def regular(source: int, directory: int, name: bytes, owners: Owners) -> None:
    """Copy a regular file with its attributes to a name that is free."""
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        content(source, target)
        wanted = attributes.read(source)
        owners.give(target, wanted)
        os.utime(target, ns=(wanted.mtime_ns, wanted.mtime_ns))
    finally:
        os.close(target)
