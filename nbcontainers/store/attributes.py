"""What a file is beside its content, on disk and in truth: owners and devices that a user namespace cannot hold are recorded.

With a single id every file belongs to the one user, and no device can be made. So the truth stands in the extended
attribute ``user.nbcontainers.stat`` of files and folders, ``UID:GID:MODE`` and for a device ``:MAJOR:MINOR``, all octal but the
ids, and comes out right in the next layer. Links and pipes cannot have such an attribute (xattr(7)).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

STAT = "user.nbcontainers.stat"
OPAQUE = "user.overlay.opaque"

# Overlay's own and ours: taken from an archive they would let it forge either's state. A host's labels (security.selinux …)
# and what only real root sees (trusted.*) belong to the host, as Docker has it too.
_PRIVATE = ("user.overlay.", "user.nbcontainers.")
_PORTABLE = ("user.", "security.capability", "system.posix_acl_")
# What a file system or a user namespace answers to an attribute that it cannot keep.
_REFUSALS = frozenset({errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EACCES})


@dataclass(slots=True)
class Attributes:
    """The truth about one file: ``mode`` has the type's bits; ``size`` is the content's of a regular file, else 0."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


def proc(directory: int, name: bytes = b"") -> bytes:
    """A path to something below a descriptor, for the calls that take no descriptor or refuse one of O_PATH."""
    return b"/proc/self/fd/%d/%b" % (directory, name) if name else b"/proc/self/fd/%d" % directory


def is_whiteout(status: os.stat_result) -> bool:
    """True for the device 0:0, with which an overlay says that a name is gone."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """True if the folder hides what lower layers have in it."""
    try:
        return os.getxattr(proc(directory), OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def is_portable(name: bytes) -> bool:
    """True for an extended attribute that belongs in a layer."""
    text = os.fsdecode(name)
    return text.startswith(_PORTABLE) and not text.startswith(_PRIVATE) and "=" not in text


def read(descriptor: int) -> Attributes:
    """The truth about an open file or folder."""
    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    found = Attributes(status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns)
    for name in os.listxattr(descriptor):
        if name == STAT:
            _correct(found, os.getxattr(descriptor, name))
        elif is_portable(raw := os.fsencode(name)):
            found.xattrs[raw] = os.getxattr(descriptor, name)
    return found


def of(status: os.stat_result) -> Attributes:
    """What is known of a link, a pipe or a device from its status."""
    found = Attributes(status.st_mode, status.st_uid, status.st_gid, 0, status.st_mtime_ns)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        found.major, found.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return found


def _correct(found: Attributes, recorded: bytes) -> None:
    """Let the record say owner, special bits and type; permissions that were changed since are the newer truth."""
    try:
        uid, gid, mode, *device = recorded.split(b":")
        found.uid, found.gid, kept = int(uid), int(gid), int(mode, 8)
        numbers = tuple(int(number) for number in device)
    except ValueError:
        return  # a container can write here what it likes; what cannot be read says nothing
    if found.mode & 0o777 == kept & 0o777:
        found.mode = stat.S_IFMT(found.mode) | kept & 0o7777
    is_device = stat.S_ISCHR(kept) or stat.S_ISBLK(kept)
    if is_device and len(numbers) == 2 and stat.S_ISREG(found.mode) and not found.size:
        found.mode = stat.S_IFMT(kept) | stat.S_IMODE(found.mode)
        found.major, found.minor = numbers


class Owners:
    """Gives files their owner, mode and attributes, and records the owners that this process's user namespace cannot hold.

    ``lost`` is what could not be kept at all, in plain words.
    """

    def __init__(self) -> None:
        self._foreign: set[tuple[int, int]] = set()
        self.lost: set[str] = set()

    def give(self, descriptor: int, wanted: Attributes) -> None:
        """Set owner, mode and extended attributes of an open file or folder, in the order in which none undoes another."""
        mode = stat.S_IMODE(wanted.mode)
        is_device = stat.S_ISCHR(wanted.mode) or stat.S_ISBLK(wanted.mode)
        if is_device or not self._chown(descriptor, wanted.uid, wanted.gid):
            record = b"%d:%d:%o" % (wanted.uid, wanted.gid, wanted.mode)
            if is_device:
                record += b":%d:%d" % (wanted.major, wanted.minor)
            try:
                os.setxattr(descriptor, STAT, record)
            except OSError as error:
                self._lose(error, "owners of files")
            if stat.S_ISREG(wanted.mode):
                mode &= ~0o6000  # set-id bits of an owner that is not there would make the program root's
        os.fchmod(descriptor, mode)  # after chown(2), which clears the special bits
        for name, value in wanted.xattrs.items():
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                self._lose(error, f"extended attribute {os.fsdecode(name)}")

    def give_name(self, directory: int, name: bytes, wanted: Attributes) -> None:
        """Set the owner of a link, pipe or device, and the mode of the latter two."""
        if not self._chown(name, wanted.uid, wanted.gid, directory):
            self.lost.add("owners of links and pipes")
        if not stat.S_ISLNK(wanted.mode):
            os.chmod(name, stat.S_IMODE(wanted.mode), dir_fd=directory)

    def _chown(self, file: int | bytes, uid: int, gid: int, directory: int | None = None) -> bool:
        if (uid, gid) in self._foreign:
            return False
        try:
            if isinstance(file, int):
                os.fchown(file, uid, gid)
            else:
                os.chown(file, uid, gid, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            self._foreign.add((uid, gid))
            return False
        return True

    def _lose(self, error: OSError, what: str) -> None:
        if error.errno not in _REFUSALS:
            raise error
        self.lost.add(what)
