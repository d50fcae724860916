"""Trees that are carried in and out of a container (``docker cp``), as tar streams between two folders that neither side can leave.

Every path is resolved with openat2 inside the descriptor of a root, links of the container too (CVE-2018-15664); below that each
step goes from a descriptor to a name without following a link. The same functions work on a container's tree, in the worker,
and on this host's, in the engine.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from ..errors import Conflict, NBContainersError, NotFound
from ..linux import syscalls
from . import attributes, tar
from .attributes import Attributes, Owners
from .tarheader import Header

_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_STRICT = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FORMATS = {tar.REGULAR: stat.S_IFREG, tar.DIRECTORY: stat.S_IFDIR, tar.SYMLINK: stat.S_IFLNK, tar.FIFO: stat.S_IFIFO}
# include/uapi/linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, mqueue. What they show is the kernel's, and has no end.
_OF_THE_KERNEL = frozenset((0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202))
_MOST_MADE_UP = 64 << 20  # bytes of a file that the kernel makes up
_ZEROS = bytes(256 << 10)
_MOUNT_ROOT = 0x2000  # STATX_ATTR_MOUNT_ROOT, since Linux 5.8
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind(root: int, path: str, *, follow: bool) -> str:
    """What a path inside a root is: ``file``, ``folder``, ``link``, ``device``, ``other``, or empty where there is nothing."""
    try:
        found = _open(root, path, follow=follow)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        return KINDS.get(stat.S_IFMT(os.fstat(found).st_mode), "other")
    finally:
        os.close(found)


def pack(
    root: int,
    path: str,
    name: str,
    emit: Callable[[memoryview], object],
    *,
    follow: bool,
    look: Callable[[int], Attributes] | None = None,
) -> None:
    """Write what a path inside a root is, and all that is in it, as an archive whose first entry is ``name``.

    An empty name is ``.``, for the content of a folder and what the folder itself is; with ``/`` all names begin with it. Sockets
    have no type in tar and are left out. In a container's tree ``look`` says who owns an open file or folder in truth (see
    ``attributes``), and folders of the kernel's own file systems are empty.

    Raises:
        NotFound: there is nothing of that path.
    """
    try:
        top = _open(root, path, follow=follow)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no such file or folder: {path}") from None
    try:
        writer = tar.Writer(emit)
        _add(writer, top, os.fsencode(name or "."), {}, look)
        writer.close()
    finally:
        os.close(top)


def place(root: int, folder: str, stream: BinaryIO, *, owners: bool, keeper: Owners | None = None) -> None:
    """Unpack an archive into a folder inside a root; what is in the way of an entry is replaced, but for folders.

    The folder itself stays as it is, whatever the archive says of ``.``: Docker's cp has it so.

    Args:
        root: a descriptor.
        folder: of the root, its links followed inside it.
        stream: an uncompressed archive.
        owners: keep the owners that it names; else all is this process's own.
        keeper: what gives files their owners in a container's tree, and records those that cannot be had.

    Raises:
        NotFound: there is no such folder.
        Conflict: it is the kernel's, or something is mounted on what would make way.
        NBContainersError: an entry would lie elsewhere.
    """
    try:
        into = syscalls.openat2(root, folder, _FOLDER, resolve=_INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no such folder: {folder}") from None
    late: list[tuple[bytes, Header]] = []
    try:
        if syscalls.filesystem_type(into) in _OF_THE_KERNEL:
            raise kernels_own(folder)
        for header, body in tar.read(stream):
            parts = [part for part in header.name.split(b"/") if part not in (b"", b".")]
            if b".." in parts:
                raise NBContainersError(f"an entry that leads elsewhere: {os.fsdecode(header.name)!r}")
            if not parts:
                continue
            *above, base = parts
            try:
                here = _reach(into, above, owners=owners, keeper=keeper)
            except OSError as error:
                raise NBContainersError(
                    f"cannot write {os.fsdecode(header.name)!r}: {error.strerror}",
                    hint="what is above it must be a folder, and no link",
                ) from error
            try:
                _make(into, here, base, header, body)
                at_first = header
                if header.type == tar.DIRECTORY:
                    late.append((b"/".join(parts), header))
                    at_first = replace(header, mode=header.mode | 0o700)  # for what comes into it
                _dress(here, base, at_first, owners=owners, keeper=keeper)
            except (FileExistsError, FileNotFoundError) as error:  # it was seen to be otherwise a moment before
                raise Conflict(
                    f"{os.fsdecode(header.name)!r} was changed by somebody else while it was copied",
                    hint="copy it again",
                ) from error
            finally:
                os.close(here)
        for path, header in reversed(late):  # what was put into a folder changed its time
            with contextlib.suppress(OSError):
                if header.mode & 0o700 == 0o700:
                    os.utime(path, ns=(header.mtime_ns, header.mtime_ns), dir_fd=into, follow_symlinks=False)
                    continue
                around, _, base = path.rpartition(b"/")
                here = syscalls.openat2(into, around or b".", _FOLDER, resolve=_STRICT)
                try:
                    _dress(here, base, header, owners=owners, keeper=keeper)
                finally:
                    os.close(here)
    finally:
        os.close(into)


def _reach(into: int, above: list[bytes], *, owners: bool, keeper: Owners | None) -> int:
    """Open the folder of an entry; what of it is not there and the archive does not tell of is made, root's, as in Docker."""
    with contextlib.suppress(FileNotFoundError):
        return syscalls.openat2(into, b"/".join(above) or b".", _FOLDER, resolve=_STRICT)
    here = os.dup(into)
    for part in above:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=here)
                made = Header(part, type=tar.DIRECTORY, mode=0o755, mtime_ns=time.time_ns())
                _dress(here, part, made, owners=owners, keeper=keeper)
            below = syscalls.openat2(here, part, _FOLDER, resolve=_STRICT)
        finally:
            os.close(here)
        here = below
    return here


def _open(root: int, path: str, *, follow: bool) -> int:
    return syscalls.openat2(root, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW), resolve=_INSIDE)


def _add(
    writer: tar.Writer,
    found: int,
    name: bytes,
    linked: dict[tuple[int, int], bytes],
    look: Callable[[int], Attributes] | None,
) -> None:
    status = os.fstat(found)
    uid, gid = attributes.ids(status)
    known = Header(
        name,
        mode=stat.S_IMODE(status.st_mode),
        uid=uid,
        gid=gid,
        mtime_ns=status.st_mtime_ns,
    )
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFDIR:
            folder = os.open(f"/proc/self/fd/{found}", _FOLDER)
            try:
                bare = name.rstrip(b"/")  # none of /, to which tar puts the slash of every folder
                if look is not None and syscalls.filesystem_type(folder) in _OF_THE_KERNEL:
                    writer.add(replace(known, name=bare, type=tar.DIRECTORY))
                    return
                writer.add(replace(_owned(known, folder, look), name=bare, type=tar.DIRECTORY))
                for entry in sorted(os.listdir(folder)):
                    below = os.open(entry, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                    try:
                        _add(writer, below, bare + b"/" + os.fsencode(entry), linked, look)
                    finally:
                        os.close(below)
            finally:
                os.close(folder)
        case stat.S_IFREG:
            inode = status.st_dev, status.st_ino
            if status.st_nlink > 1 and inode in linked:
                writer.add(replace(known, type=tar.HARDLINK, link=linked[inode]))
                return
            linked[inode] = name
            content = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                header = _owned(known, content, look)
                if syscalls.filesystem_type(content) in _OF_THE_KERNEL:
                    content = _read_out(content, os.fsdecode(name))
                writer.add(replace(header, size=os.fstat(content).st_size), content)
            finally:
                os.close(content)
        case stat.S_IFLNK:
            link = os.fsencode(os.readlink("", dir_fd=found))
            writer.add(replace(known, type=tar.SYMLINK, link=link))
        case stat.S_IFIFO:
            writer.add(replace(known, type=tar.FIFO))
        case stat.S_IFCHR | stat.S_IFBLK as type_:
            flag = tar.CHARACTER if type_ == stat.S_IFCHR else tar.BLOCK_DEVICE
            major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            writer.add(replace(known, type=flag, major=major, minor=minor))


def _read_out(content: int, name: str) -> int:
    """What is read of a file that the kernel makes up, in memory, in its place: its size is not known before."""
    memory = os.memfd_create("nbc-carried", os.MFD_CLOEXEC)
    try:
        while block := os.read(content, 1 << 20):
            os.write(memory, block)
            if os.fstat(memory).st_size > _MOST_MADE_UP:
                raise NBContainersError(
                    f"{name!r} has no end, or none soon", hint="read with exec what is wanted of it"
                )
        os.lseek(memory, 0, os.SEEK_SET)
    except BaseException:
        os.close(memory)
        raise
    os.close(content)
    return memory


def _owned(known: Header, opened: int, look: Callable[[int], Attributes] | None) -> Header:
    """What an open file or folder is in truth."""
    if look is None:
        return known
    truth = look(opened)
    return replace(known, mode=stat.S_IMODE(truth.mode), uid=truth.uid, gid=truth.gid)


def _make(into: int, here: int, base: bytes, header: Header, body: tar.Body) -> None:
    """Make one entry; a file or link in its place makes way, a folder only for a folder."""
    shown = os.fsdecode(header.name)
    there = None
    with contextlib.suppress(FileNotFoundError):
        there = os.stat(base, dir_fd=here, follow_symlinks=False)
    is_folder = there is not None and stat.S_ISDIR(there.st_mode)
    if header.type == tar.DIRECTORY:
        if is_folder:
            return
        if there is not None:
            raise Conflict(f"a folder cannot take the place of a file: {shown}")
        os.mkdir(base, 0o700, dir_fd=here)
        return
    if is_folder:
        raise Conflict(f"a file cannot take the place of a folder: {shown}")
    if there is not None:
        _make_way(here, base, shown)
    match header.type:
        case tar.REGULAR:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(base, flags, 0o600, dir_fd=here)
            try:
                for offset, piece in body.segments():  # holes stay holes, however large they say they are
                    _write(file, piece, offset, holes=header.size > tar.CHUNK)
                os.ftruncate(file, header.size)
            finally:
                os.close(file)
        case tar.SYMLINK:
            os.symlink(header.link, base, dir_fd=here)
        case tar.HARDLINK:
            try:
                target = syscalls.openat2(into, header.link.lstrip(b"/"), os.O_PATH | os.O_NOFOLLOW, resolve=_STRICT)
            except OSError as error:
                words = f"cannot write {shown!r}, a hard link to {os.fsdecode(header.link)!r}: {error.strerror}"
                raise NBContainersError(words, hint="an archive has the file before its links") from error
            try:
                os.link(f"/proc/self/fd/{target}", base, dst_dir_fd=here, follow_symlinks=True)
            finally:
                os.close(target)
        case tar.FIFO:
            os.mkfifo(base, 0o600, dir_fd=here)
        case tar.CHARACTER | tar.BLOCK_DEVICE:
            kind_ = stat.S_IFCHR if header.type == tar.CHARACTER else stat.S_IFBLK
            os.mknod(base, 0o600 | kind_, os.makedev(header.major, header.minor), dir_fd=here)
        case _:
            raise NBContainersError(f"an entry of a type that is not known here: {shown}")


def mounted(path: str) -> Conflict:
    """The error of a file that is to take the place of one that is mounted there."""
    return Conflict(
        f"a file cannot take the place of what is mounted: {path}", hint="write into it with exec, or where it is from"
    )


def kernels_own(folder: str) -> Conflict:
    """The error of a copy into a folder that is no folder of a container's files."""
    return Conflict(f"{folder} is the kernel's own: nothing can be copied there", hint="write to its files with exec")


def _make_way(here: int, base: bytes, shown: str) -> None:
    """Remove what is no folder. From another mount namespace the kernel would take away what is mounted there without a word."""
    told = syscalls.statx(here, base, syscalls.AT_SYMLINK_NOFOLLOW, 0)
    if int.from_bytes(told[8:16], "little") & _MOUNT_ROOT:
        raise mounted(shown)
    os.unlink(base, dir_fd=here)


def _write(file: int, piece: memoryview, offset: int, *, holes: bool) -> None:
    """Write a piece of a new file's content; with ``holes`` not where it has nothing but zeros, as a file's holes come in an archive."""
    while piece:
        part = piece[: len(_ZEROS)]
        piece = piece[len(part) :]
        if holes and not part[0] and _ZEROS.startswith(part.tobytes()):
            offset += len(part)
            continue
        while part:
            count = os.pwrite(file, part, offset)
            offset, part = offset + count, part[count:]


def _dress(here: int, base: bytes, header: Header, *, owners: bool, keeper: Owners | None) -> None:
    """Give an entry its owner, its mode and its time."""
    if keeper is not None and owners and header.type in _FORMATS:
        wanted = Attributes(_FORMATS[header.type] | header.mode & 0o7777, header.uid, header.gid, 0, header.mtime_ns)
        if header.type in (tar.REGULAR, tar.DIRECTORY):
            entry = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
            try:
                keeper.give(entry, wanted)
            finally:
                os.close(entry)
        else:
            keeper.give_name(here, base, wanted)
    elif header.type not in (tar.SYMLINK, tar.HARDLINK):
        if owners:
            os.chown(base, header.uid, header.gid, dir_fd=here, follow_symlinks=False)
        entry = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        try:
            os.chmod(f"/proc/self/fd/{entry}", header.mode & 0o7777)
        finally:
            os.close(entry)
    elif owners:
        os.chown(base, header.uid, header.gid, dir_fd=here, follow_symlinks=False)
    with contextlib.suppress(OSError):
        os.utime(base, ns=(header.mtime_ns, header.mtime_ns), dir_fd=here, follow_symlinks=False)
