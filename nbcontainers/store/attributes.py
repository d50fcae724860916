"""What a file is beside its content, on disk and in truth: owners and devices that a user namespace cannot hold are recorded.

How they are recorded is said in ``linux.recorded``: what is read here is the truth, and comes out right in the next layer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ..linux import recorded

STAT = recorded.NAME
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


_root: tuple[int, int] | None = None  # the ids that stand for root's


def stand_for_root() -> None:
    """Take this process's user for the root of images and containers, where no user namespace has it so: what is his is root's."""
    global _root
    if os.geteuid() != 0:
        _root = os.geteuid(), os.getegid()


def own() -> tuple[int, int]:
    """Whose the files are that this process makes, as ``ids`` has it."""
    return (os.geteuid(), os.getegid()) if _root is None else (0, 0)


def ids(status: os.stat_result) -> tuple[int, int]:
    """Whose a file is, of those who are not recorded."""
    if _root is None:
        return status.st_uid, status.st_gid
    return 0 if status.st_uid == _root[0] else status.st_uid, 0 if status.st_gid == _root[1] else status.st_gid


def on_disk(mode: int) -> int:
    """The permissions that a file or folder gets: who stands for root would be kept out by some that do not keep root out."""
    own = 0 if _root is None else 0o500 if stat.S_ISDIR(mode) else 0o400
    return stat.S_IMODE(mode) | own


_lent: dict[
    tuple[int, int], int
] = {}  # the true modes of folders that may be written to for a while, by device and inode


def reach(tree: int, writing: contextlib.ExitStack | None = None) -> None:
    """Have an opened tree be one that this process may look into, where it stands for root; the modes that a program gave are recorded.

    With ``writing`` it may write into all folders, too, until that is closed.
    """
    if _root is None:
        return
    _open_up(tree, b".", writing)
    for _, folders, files, here in os.fwalk(b".", dir_fd=tree):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):  # a program has removed it meanwhile, or it is another user's
                if _is_shut(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode, writing):
                    _open_up(here, name, writing)


def _is_shut(mode: int, writing: object) -> bool:
    return on_disk(mode) != stat.S_IMODE(mode) or (writing is not None and stat.S_ISDIR(mode) and not mode & 0o200)


def _open_up(directory: int, name: bytes, writing: contextlib.ExitStack | None) -> None:
    with contextlib.ExitStack() as held:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        held.callback(os.close, found)
        status = os.fstat(found)
        mode = status.st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return
        if on_disk(mode) != stat.S_IMODE(mode):
            known = recorded.read(proc(found), follow=True) or (*ids(status), mode, 0, 0)
            truth = stat.S_IFMT(known[2]) | stat.S_IMODE(mode)
            os.chmod(proc(found), 0o700)
            os.setxattr(proc(found), STAT, recorded.text((*known[:2], truth, *known[3:])))
            mode = stat.S_IFMT(mode) | on_disk(mode)
            os.chmod(proc(found), stat.S_IMODE(mode))
        if writing is not None and stat.S_ISDIR(mode) and not mode & 0o200:
            os.chmod(proc(found), stat.S_IMODE(mode) | 0o200)
            _lent[status.st_dev, status.st_ino] = mode
            held.callback(_take_back, found, mode)
            writing.push(held.pop_all())


def _take_back(found: int, mode: int) -> None:
    status = os.fstat(found)
    _lent.pop((status.st_dev, status.st_ino), None)
    if status.st_mode == mode | 0o200:  # nobody has given it another one meanwhile
        os.chmod(proc(found), stat.S_IMODE(mode))


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


def read(descriptor: int, status: os.stat_result | None = None) -> Attributes:
    """The truth about an open file or folder, whose ``status`` may be known."""
    status = status or os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    mode = _lent.get((status.st_dev, status.st_ino), status.st_mode) if _lent else status.st_mode
    found = Attributes(mode, *ids(status), size, status.st_mtime_ns)
    for name in os.listxattr(descriptor):
        if name == STAT:
            _correct(found, os.getxattr(descriptor, name))
        elif is_portable(raw := os.fsencode(name)):
            found.xattrs[raw] = os.getxattr(descriptor, name)
    return found


def of(status: os.stat_result, directory: int, name: bytes) -> Attributes:
    """What is known of a link, a pipe or a device: its status and, if there is one, its line in the ledger of an opened tree."""
    found = Attributes(status.st_mode, *ids(status), 0, status.st_mtime_ns)
    if recorded.is_device(status.st_mode):
        found.major, found.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif _ledger:
        record = _ledger.find(status.st_ino, directory, name)
        if record is not None:
            found.uid, found.gid = record[:2]
    return found


_ledger = recorded.Ledger()
_learned: dict[str, tuple[int, int]] = {}


def learn(folder: str | Path) -> None:
    """Read the ledger beside a tree that this process will look at: inode numbers tell one tree's files from another's."""
    path = f"{folder}/{recorded.LEDGER}"
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    state = status.st_mtime_ns, status.st_size
    if _learned.get(path) != state:
        _ledger.load(path)
        _learned[path] = state


def _correct(found: Attributes, text: bytes) -> None:
    """Let the record say owner, special bits and type; permissions that were changed since are the newer truth."""
    record = recorded.parse(text)
    if record is None:
        return
    found.uid, found.gid = record[:2]
    real = found.mode
    if _root is not None and real & 0o777 == on_disk(stat.S_IFMT(real) | record[2]) & 0o777:
        real = real & ~0o777 | record[2] & 0o777
    mode = recorded.mode(record, real, found.size)
    if recorded.is_device(mode):
        found.major, found.minor = record[3:]
    found.mode = mode


class Owners:
    """Gives files their owner, mode and attributes, and records the owners that this process's user namespace cannot hold.

    ``lost`` is what could not be kept at all, in plain words; ``has_recorded`` says whether anything was recorded. ``beside`` is
    a descriptor of the folder that a tree with a ledger lies in; without it links and pipes belong to root.
    """

    def __init__(self, beside: int = -1) -> None:
        self._beside = beside
        self._foreign: set[tuple[int, int]] = set()
        self.lost: set[str] = set()
        self.has_recorded = False

    def give(self, descriptor: int, wanted: Attributes) -> None:
        """Set owner, mode and extended attributes of an open file or folder, in the order in which none undoes another."""
        mode = stat.S_IMODE(wanted.mode)
        is_kept = not recorded.is_device(wanted.mode) and self._chown(descriptor, wanted.uid, wanted.gid)
        if not is_kept or on_disk(wanted.mode) != mode:
            self.has_recorded = True
            if _root is not None:
                os.fchmod(descriptor, 0o700)  # who may not write to a file cannot record anything
            try:
                os.setxattr(descriptor, STAT, recorded.text(_record(wanted)))
            except OSError as error:
                self._lose(error, "owners of files")
            mode = on_disk(stat.S_IFMT(wanted.mode) | recorded.on_inode(wanted.mode))
        elif stat.S_ISDIR(wanted.mode):  # a folder may have been there before, and another's
            with contextlib.suppress(OSError):
                os.removexattr(descriptor, STAT)
        os.fchmod(descriptor, mode)  # after chown(2), which clears the special bits
        for name, value in wanted.xattrs.items():
            self.attribute(descriptor, name, value)

    def attribute(self, descriptor: int, name: bytes, value: bytes) -> None:
        """Set one extended attribute of an open file or folder."""
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            self._lose(error, f"extended attribute {os.fsdecode(name)}")

    def give_name(self, directory: int, name: bytes, wanted: Attributes) -> None:
        """Set the owner of a link, pipe or device, and the mode of the latter two."""
        if not self._chown(name, wanted.uid, wanted.gid, directory):
            if self._beside < 0:
                self.lost.add("owners of links and pipes")
            else:
                self.has_recorded = True
                inode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
                _ledger.put(inode, directory, name, _record(wanted), self._beside)
        if not stat.S_ISLNK(wanted.mode):
            os.chmod(name, stat.S_IMODE(wanted.mode), dir_fd=directory)

    def _chown(self, file: int | bytes, uid: int, gid: int, directory: int | None = None) -> bool:
        if _root is not None:
            if (uid, gid) != (0, 0):
                return False
            uid, gid = _root
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


def _record(wanted: Attributes) -> recorded.Record:
    return wanted.uid, wanted.gid, wanted.mode, wanted.major, wanted.minor
