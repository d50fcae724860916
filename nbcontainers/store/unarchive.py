"""An archive of files put into a tree, as ADD does it: no layer, so its owners and modes count and whiteouts are plain files."""

from __future__ import annotations

import bz2
import contextlib
import errno
import lzma
import os
import stat
from typing import BinaryIO, cast

from ..errors import IntegrityError, NBContainersError
from ..linux import syscalls
from . import compression, removal, tar, transfer
from .attributes import Attributes, Owners
from .lookups import real
from .merged import FOLDER

_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_KINDS = {
    tar.REGULAR: stat.S_IFREG,
    tar.SYMLINK: stat.S_IFLNK,
    tar.CHARACTER: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
    tar.DIRECTORY: stat.S_IFDIR,
    tar.FIFO: stat.S_IFIFO,
}


def is_archive(path: bytes) -> bool:
    """Whether a file is a tar archive with something in it, plain or compressed by gzip, bzip2, xz or zstd."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return next(tar.read(_uncompressed(file)), None) is not None
    except (NBContainersError, OSError, EOFError, lzma.LZMAError, ValueError):
        return False


def unpack(path: bytes, folder: int, owners: Owners, owner: tuple[int, int] | None = None) -> int:
    """Put all that an archive has into a folder and return the bytes of the files' contents.

    Names and links are resolved inside the folder, whatever they say. What is there is replaced, but for a folder by a folder,
    which then has the archive's attributes. The entry for the root is passed over, as Docker has it.

    Args:
        path: the archive.
        folder: a descriptor of the folder.
        owners: gives the files their attributes.
        owner: whose everything is; None for what the archive says.

    Raises:
        IntegrityError: the archive is damaged, or an entry's name leads out of it.

    """
    folders: list[tuple[bytes, Attributes]] = []
    size = 0
    try:
        with open(path, "rb") as file:
            for header, body in tar.read(_uncompressed(file)):
                name = os.path.normpath(header.name.lstrip(b"/") or b".")
                # A name that would be a whiteout in a layer cannot be there: Docker makes the file, and loses it on the way.
                if name == b"." or b"/.wh." in b"/" + name:
                    continue
                if name.startswith(b"../") or name == b"..":
                    raise IntegrityError(f"an archive with an entry outside it: {os.fsdecode(header.name)!r}")
                size += _entry(folder, name, header, body, owners, folders, owner)
    except (EOFError, lzma.LZMAError, ValueError) as error:
        raise IntegrityError(
            f"an archive that cannot be uncompressed: {error}", hint="it is damaged: get it again"
        ) from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise IntegrityError(f"an archive with a file that is too large here: {error.strerror}") from error
        if error.errno is not None:
            raise
        raise IntegrityError(
            f"an archive that cannot be uncompressed: {error}", hint="it is damaged: get it again"
        ) from error
    for name, wanted in reversed(folders):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # an entry after it took its place
            made = syscalls.openat2(folder, name, FOLDER, resolve=_INSIDE)
            try:
                transfer.finish(made, wanted, owners)
            finally:
                os.close(made)
    return size


def _entry(
    folder: int,
    name: bytes,
    header: tar.Header,
    body: tar.Body,
    owners: Owners,
    folders: list[tuple[bytes, Attributes]],
    owner: tuple[int, int] | None,
) -> int:
    above, _, base = name.rpartition(b"/")
    here = _parent(folder, above)
    try:
        kind = _KINDS.get(header.type, 0)
        wanted = Attributes(
            kind | header.mode,
            *(owner or (header.uid, header.gid)),
            header.size,
            header.mtime_ns,
            header.major,
            header.minor,
            header.xattrs,
        )
        _clear(here, base, keep_folder=kind == stat.S_IFDIR)
        if kind == stat.S_IFDIR:
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, 0o700, dir_fd=here)
            folders.append((name, wanted))
        elif kind == stat.S_IFLNK:
            os.symlink(header.link, base, dir_fd=here)
            transfer.named(here, base, wanted, owners)
        elif header.type == tar.HARDLINK:
            target = os.path.normpath(b"/" + header.link)
            before, _, linked = target.rpartition(b"/")
            there = syscalls.openat2(folder, before or b"/", FOLDER, resolve=_INSIDE)
            try:
                os.link(linked, base, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
            finally:
                os.close(there)
        elif kind == stat.S_IFREG:
            made = os.open(base, transfer.NEW, 0o600, dir_fd=here)
            try:
                for offset, piece in body.segments():
                    _write(made, piece, offset)
                os.ftruncate(made, header.size)
                transfer.finish(made, wanted, owners)
            finally:
                os.close(made)
            return header.size
        else:
            transfer.special(here, base, wanted, owners)
        return 0
    except FileNotFoundError as error:
        raise IntegrityError(f"an archive with a hard link to nothing: {os.fsdecode(name)!r}") from error
    finally:
        os.close(here)


def _write(file: int, piece: memoryview, offset: int) -> None:
    while piece:
        count = os.pwrite(file, piece, offset)
        piece, offset = piece[count:], offset + count


def _parent(folder: int, path: bytes) -> int:
    """A descriptor of a folder below; those that no entry spoke of are made, also where links lead to nothing."""
    try:
        return syscalls.openat2(folder, path or b"/", FOLDER & ~os.O_NOFOLLOW, resolve=_INSIDE)
    except FileNotFoundError:
        above, _, base = real(folder, path).rpartition(b"/")
        here = _parent(folder, above)
        try:
            os.mkdir(base, 0o755, dir_fd=here)
            return os.open(base, FOLDER, dir_fd=here)
        finally:
            os.close(here)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise IntegrityError(f"an archive with an entry below a file: {os.fsdecode(path)!r}") from error


def _clear(here: int, base: bytes, *, keep_folder: bool) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(base, dir_fd=here, follow_symlinks=False).st_mode):
            if not keep_folder:
                removal.remove(here, base)
        else:
            os.unlink(base, dir_fd=here)


def _uncompressed(file: BinaryIO) -> BinaryIO:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(file))
    if head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return cast("BinaryIO", lzma.LZMAFile(file))
    return compression.reader(file)
