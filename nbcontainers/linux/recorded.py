"""What a file is in truth where the kernel cannot hold it: owners that a user namespace does not map, devices that it cannot make.

With a single id every file belongs to the one user. So the truth stands in an extended attribute of files and folders,
``UID:GID:MODE`` and for a device ``:MAJOR:MINOR``, all decimal but the octal mode, and goes with the file through renames and
hard links. Links, pipes and sockets cannot have such an attribute (xattr(7)); what is true of them stands in a ledger beside
their tree, by inode number and time of birth (for numbers are used again).

Store and runtime agree here; the zygote imports this module, so it imports only what is small.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from . import syscalls

NAME = "user.nbcontainers.stat"
LEDGER = "links"
"""What the ledger of a tree is called, beside the tree."""
PLAIN = "plain"
"""An empty file beside a layer's tree: nothing in that is recorded."""
MARK = "records"
"""An empty file beside a writable tree: something is recorded there, or in what else is mounted with it."""

SET_ID = stat.S_ISUID | stat.S_ISGID
_BIRTH = struct.Struct("=qI")  # of struct statx, at 80
_BIRTH_AT = 80
_MOUNT_AT = 144
_STATX_BTIME, _STATX_MNT_ID = 0x800, 0x1000
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_getxattr, _lgetxattr = _libc.getxattr, _libc.lgetxattr
_buffer = ctypes.create_string_buffer(128)  # longer texts are none of ours
_ATTRIBUTE = NAME.encode()
_NONE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ERANGE})

Record = tuple[int, int, int, int, int]
"""uid, gid, mode with the type's bits, and a device's major and minor number (else 0)."""


def parse(text: bytes) -> Record | None:
    """Read a record; None for what is none: a container can write there what it likes, and nonsense says nothing."""
    try:
        uid, gid, mode, *device = text.split(b":")
        major, minor = (int(device[0]), int(device[1])) if len(device) == 2 else (0, 0)
        return int(uid), int(gid), int(mode, 8), major, minor
    except ValueError:
        return None


def read(path: bytes, *, follow: bool) -> Record | None:
    """The record of a path, None where the file has none or cannot have one; OSError where there is no such file.

    As ``os.getxattr`` would do it, but most files have no record, and an exception for each costs more than the look.
    """
    size = (_getxattr if follow else _lgetxattr)(path, _ATTRIBUTE, _buffer, 128)
    if size >= 0:
        return parse(_buffer.raw[:size])
    number = ctypes.get_errno()
    if number in _NONE:
        return None
    raise OSError(number, os.strerror(number))


def text(record: Record) -> bytes:
    """A record as it is written."""
    uid, gid, mode, major, minor = record
    words = b"%d:%d:%o" % (uid, gid, mode)
    return words + b":%d:%d" % (major, minor) if is_device(mode) else words


def is_device(mode: int) -> bool:
    """Whether a mode is a device's."""
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def mode(record: Record, real: int, size: int) -> int:
    """The true mode of a file whose inode says ``real``: type and special bits of the record, and the newest permissions.

    An empty file can stand for a device. Where the inode's permissions are not the record's they were changed since by one who
    does not keep records, and are the newer truth.
    """
    recorded = record[2]
    if is_device(recorded) and stat.S_ISREG(real) and not size:
        return stat.S_IFMT(recorded) | (recorded if recorded & 0o777 == real & 0o777 else real) & 0o7777
    if recorded & 0o777 == real & 0o777:
        return stat.S_IFMT(real) | (recorded | real & SET_ID) & 0o7777
    return real


def on_inode(mode: int) -> int:
    """The permissions that the inode itself gets of a file with a recorded owner.

    Set-id bits would make a program its real owner's, who is the user of this host.
    """
    return stat.S_IMODE(mode) & ~(SET_ID if not stat.S_ISDIR(mode) else 0)


def birth(directory: int, name: bytes, *, follow: bool = False) -> int:
    """When an inode was made, in nanoseconds; 0 where its file system does not say."""
    try:
        buffer = syscalls.statx(directory, name, 0 if follow else syscalls.AT_SYMLINK_NOFOLLOW, _STATX_BTIME)
    except OSError:
        return 0
    if not int.from_bytes(buffer[:4], "little") & _STATX_BTIME:
        return 0
    seconds, fraction = _BIRTH.unpack_from(buffer, _BIRTH_AT)
    return int(seconds) * 1_000_000_000 + int(fraction)


def mount(path: bytes, *, follow: bool) -> int:
    """The number of the mount that a file is on; 0 where the kernel does not say (before 5.8)."""
    flags = 0 if follow else syscalls.AT_SYMLINK_NOFOLLOW
    buffer = syscalls.statx(_AT_FDCWD, path, flags, _STATX_MNT_ID)
    return int.from_bytes(buffer[_MOUNT_AT : _MOUNT_AT + 8], "little")


def mark(folder: int) -> None:
    """Say beside a tree, in a folder given by its descriptor, that something is recorded there: whoever asks looks from now on."""
    os.close(os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder))


def has_none(trees: list[str]) -> bool:
    """Whether it is known that nothing is recorded in a writable tree that was just made, and the layers below it."""
    own, *lower = trees
    is_plain = all(os.path.exists(f"{os.path.dirname(tree)}/{PLAIN}") for tree in lower)
    return is_plain and not os.path.exists(f"{os.path.dirname(own)}/{MARK}") and not os.listdir(own)


class Ledger:
    """Records of inodes without attributes, of one file system: those read from files, and those that are added to one.

    Lines are ``INODE:BIRTH RECORD``; a later one holds, and one without a record takes it back.
    """

    def __init__(self) -> None:
        self._records: dict[int, tuple[int, Record]] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    def load(self, path: str) -> None:
        """Read a ledger's file; one that is not there has nothing to say, nor has a line that was torn."""
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read() or b""
        except OSError:
            return
        for line in data.splitlines():
            key, _, words = line.partition(b" ")
            try:
                inode, born = (int(number) for number in key.split(b":"))
            except ValueError:
                continue
            record = parse(words)
            if record is None:
                self._records.pop(inode, None)
            else:
                self._records[inode] = born, record

    def find(self, inode: int, directory: int, name: bytes, *, follow: bool = False) -> Record | None:
        """The record of a name in a folder, whose inode has this number."""
        found = self._records.get(inode)
        if found is None or found[0] != birth(directory, name, follow=follow):
            return None
        return found[1]

    def put(
        self,
        inode: int,
        directory: int,
        name: bytes,
        record: Record | None,
        folder: int = -1,
        *,
        follow: bool = False,
        kept: int = 0,
    ) -> None:
        """Record a name in a folder (None: take it back), and also in the file in ``folder``, a descriptor of what is beside the tree.

        ``kept`` is the inode's number for the file where it has another in the tree.
        """
        if record is None and inode not in self._records:
            return
        born = birth(directory, name, follow=follow)
        if record is None:
            del self._records[inode]
        else:
            self._records[inode] = born, record
        if folder >= 0:
            line = b"%d:%d %b\n" % (kept or inode, born, b"" if record is None else text(record))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(LEDGER, flags, 0o600, dir_fd=folder)
            try:
                os.write(file, line)
            finally:
                os.close(file)
