"""A layer's archive becomes a folder in overlay form.

Nothing is ever written outside the folder but the ledger beside it: each step goes from a descriptor to a name below it
without following a link; links on the way to an entry are resolved by us, inside the root, and against the lower layers too,
as if all were one tree.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import IntegrityError
from ..oci.descriptor import Digest
from . import attributes, merged, tar, transfer
from .attributes import OPAQUE, Attributes, Owners, is_whiteout, proc
from .compression import ReadAhead
from .entries import KINDS, Index
from .entries import OPAQUE as OPAQUE_ENTRY
from .entries import WHITEOUT as REMOVED
from .places import Places, shown

WHITEOUT = b".wh."

_LATEST = 1 << 66  # nanoseconds: beyond what any file system can say, and within what the kernel takes
# What the kernel answers to names and numbers that only a crafted archive has, or to an order that only such a one has.
_WORTH = 1 << 16  # bytes
_ZEROS = bytes(tar.CHUNK)
_MALFORMED = frozenset(
    {
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.ELOOP,
        errno.EOVERFLOW,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.EMFILE,
    }
)
_TYPES: dict[bytes, tuple[int, int]] = {
    tar.REGULAR: (KINDS.index("file"), stat.S_IFREG),
    tar.HARDLINK: (KINDS.index("hardlink"), 0),
    tar.SYMLINK: (KINDS.index("symlink"), stat.S_IFLNK),
    tar.CHARACTER: (KINDS.index("device"), stat.S_IFCHR),
    tar.BLOCK_DEVICE: (KINDS.index("device"), stat.S_IFBLK),
    tar.DIRECTORY: (KINDS.index("directory"), stat.S_IFDIR),
    tar.FIFO: (KINDS.index("fifo"), stat.S_IFIFO),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layer may be at most, so that a small archive cannot fill a disk: bytes of files and archive, and entries."""

    bytes: int = 64 << 30
    entries: int = 4_000_000


def apply(
    layer: BinaryIO,
    directory: int,
    *,
    parents: Sequence[int] = (),
    index: Index,
    limits: Limits = Limits(),
    lost: set[str] | None = None,
) -> Digest:
    """Unpack a layer in overlay form into an empty folder and return its diff ID.

    Entries never escape the folder, whatever their names and links say: absolute names count from its root, ``..`` that would
    climb above it is refused, links in names are resolved inside it. Hard links may come before their targets, and may name
    files of lower layers, which are copied up. Sockets have no type in tar. Owners and devices that this process cannot make
    are recorded (see ``attributes``).

    Args:
        layer: an uncompressed tar stream, positioned at its first header; it is read to its end, on another thread.
        directory: a descriptor of the folder.
        parents: descriptors of the lower layers' folders, from the base up.
        index: gets a row for each entry, in order.
        limits: what the layer may be at most.
        lost: here is added, in plain words, what could not be kept.

    Raises:
        IntegrityError: an entry is truncated, of an unknown type, or tries what no honest archive does; the limits are passed.

    Source: OCI image spec 1.1, "Image Layer Filesystem Changeset".

    """
    with ReadAhead(layer, limit=limits.bytes) as stream:
        with contextlib.closing(_Unpacking(directory, parents, index)) as unpacking:
            unpacking.run(tar.read(stream), limits)
            if lost is not None:
                lost |= unpacking.owners.lost
        while stream.read():
            pass
        return Digest(stream.digest)


class _Unpacking:
    """The state of one ``apply``. Paths are relative bytes, as they really are: without links, ``.`` and ``..``."""

    def __init__(self, root: int, parents: Sequence[int], index: Index) -> None:
        self._beside = os.open(b"..", merged.FOLDER, dir_fd=root)  # where its ledger is
        self.owners = Owners(self._beside)
        self._places = Places(root, parents, self.owners)
        self._index = index
        self._waiting: dict[bytes, bytes] = {}  # hard links whose targets have not come yet
        self._own = attributes.own()
        self._exact: bool | None = None  # whether a new file is at once what open(2) is told; found with the first one

    def close(self) -> None:
        self._places.close()
        os.close(self._beside)

    def run(self, entries: Iterable[tuple[tar.Header, tar.Body]], limits: Limits) -> None:
        self._places.begin()
        room, count = limits.bytes, 0
        for header, body in entries:
            count, room = count + 1, room - header.size
            if count > limits.entries or room < 0:
                raise IntegrityError(
                    f"a layer of more than {limits.entries} entries or {limits.bytes} bytes",
                    hint="if it is meant to be so large, raise NBCONTAINERS_LAYER_LIMIT",
                )
            try:
                self._entry(header, body)
            except OSError as error:
                _blame(error, header.name)
                raise
        try:
            self._link_waiting()
        except OSError as error:
            _blame(error, next(iter(self._waiting), b""))
            raise
        self._places.finish()

    def _entry(self, header: tar.Header, body: tar.Body) -> None:
        self._places.settle()
        above, base = _split(header.name)
        if header.uid > 0xFFFFFFFE or header.gid > 0xFFFFFFFE or max(header.major, header.minor) > 0xFFFFF:
            raise IntegrityError(f"a layer with an impossible owner or device: {shown(header.name)}")
        header.mtime_ns = max(-_LATEST, min(header.mtime_ns, _LATEST))
        if base.startswith(WHITEOUT):
            self._whiteout(above, base[len(WHITEOUT) :], header)
            return
        if not base:
            if header.type != tar.DIRECTORY:
                raise IntegrityError("a layer whose root is no folder", hint="the archive is hostile: do not use it")
            self._places.keep(b"", _wanted(header))
            self._row(b"", header)
            return
        here, at = self._places.parent(above, header.mtime_ns)
        path = at + b"/" + base if at else base
        self._waiting.pop(path, None)
        digest, link = b"", header.link
        if header.type == tar.REGULAR:
            digest = self._regular(here, at, base, header, body)
            self._row(path, header, digest)
            return
        match header.type:
            case tar.DIRECTORY:
                self._folder(here, base, path, header)
            case tar.HARDLINK:
                link = b"/" + self._hardlink(path, header)
            case tar.SYMLINK:
                if not link:
                    raise IntegrityError(f"a layer with a link to nothing: {shown(path)}")
                self._places.replace(here, base, path)
                os.symlink(link, base, dir_fd=here)
                transfer.named(here, base, _wanted(header), self.owners)
            case _:
                self._places.replace(here, base, path)
                transfer.special(here, base, _wanted(header), self.owners)
        self._row(path, header, digest, link)

    def _row(self, path: bytes, header: tar.Header, digest: bytes = b"", link: bytes = b"") -> None:
        kind = _TYPES[header.type][0]
        self._index.put(path, kind, header.mode, header.uid, header.gid, header.size, digest, link)

    # What entries are

    def _regular(self, here: int, above: bytes, base: bytes, header: tar.Header, body: tar.Body) -> bytes:
        mode = header.mode
        # Most files are root's and nothing special: they are what they are to be from the beginning, and need no more calls.
        plain = (
            (header.uid, header.gid) == self._own
            and mode <= 0o777
            and mode == attributes.on_disk(stat.S_IFREG | mode)
            and not header.xattrs
            and self._exact is not False
            and self._places.is_plain(above)
        )
        try:
            target = os.open(base, transfer.NEW, mode if plain else 0o600, dir_fd=here)
        except FileExistsError:
            self._places.replace(here, base, above + b"/" + base if above else base)
            target = os.open(base, transfer.NEW, mode if plain else 0o600, dir_fd=here)
        try:
            whole = body.whole()
            if whole is not None:
                content = hashlib.sha256(whole)
                _write(target, whole, 0)
            else:
                content, at = hashlib.sha256(), 0
                for offset, piece in body.segments():
                    for zeros in tar.holes(offset - at):
                        content.update(zeros)
                    content.update(piece)
                    if not _is_hole(piece):  # most archives write holes out, and a disk need not have them
                        _write(target, piece, offset)
                    at = offset + len(piece)
                for zeros in tar.holes(header.size - at):
                    content.update(zeros)
                os.ftruncate(target, header.size)
            if plain and self._exact is None:
                self._exact = _is_as_told(target, header)
            if plain and self._exact:
                os.utime(target, ns=(header.mtime_ns, header.mtime_ns))
            else:
                transfer.finish(target, _wanted(header), self.owners)
        finally:
            os.close(target)
        return content.digest()

    def _folder(self, here: int, base: bytes, path: bytes, header: tar.Header) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=here)
        except FileExistsError:
            status = os.stat(base, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._places.replace(here, base, path)
                os.mkdir(base, 0o700, dir_fd=here)
                # What was here hid the folder of a lower layer, and what is in that must not come back.
                os.setxattr(proc(here, base), OPAQUE, b"y")
        self._places.keep(path, _wanted(header))

    def _hardlink(self, path: bytes, header: tar.Header) -> bytes:
        above, name = _split(header.link)
        _, at = self._places.parent(above, header.mtime_ns)
        target = at + b"/" + name if at else name
        if not self._link(target, path):
            self._waiting[path] = target
        return target

    def _link(self, target: bytes, path: bytes) -> bool:
        """Make one path a link to another; False if that is not there yet."""
        there, name = self._places.place(target)
        here, base = self._places.place(path)
        try:
            status = os.stat(name, dir_fd=there, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode) or is_whiteout(status) or target.startswith(path + b"/"):
            raise IntegrityError(f"a layer with a hard link to no file: {shown(path)} to {shown(target)}")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(status, os.stat(base, dir_fd=here, follow_symlinks=False)):
                return True
        self._places.replace(here, base, path)
        os.link(name, base, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        return True

    def _whiteout(self, above: bytes, name: bytes, header: tar.Header) -> None:
        if name in (b"", b".", b".."):
            raise IntegrityError(f"a layer that removes {shown(name)}", hint="the archive is hostile: do not use it")
        if name.startswith(WHITEOUT) and name != OPAQUE_ENTRY.encode()[len(WHITEOUT) :]:
            return  # AUFS's own files, of which the oldest images have some
        here, at = self._places.parent(above, header.mtime_ns)
        path = at + b"/" + name if at else name
        if name.startswith(WHITEOUT):
            path = at + b"/" + WHITEOUT + name if at else WHITEOUT + name
            self._places.hide(at)
        else:
            try:
                # A device 0:0 may be made by anyone (mknod(2), since Linux 5.8).
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=here)
            except FileExistsError:
                # It takes away what lower layers have, not what this one brings.
                if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                    self._places.hide(path)
        self._index.put(path, REMOVED)

    # What is done when all entries are read

    def _link_waiting(self) -> None:
        while self._waiting:
            made = [path for path, target in self._waiting.items() if self._link(target, path)]
            for path in made or [next(iter(self._waiting))]:
                target = self._waiting.pop(path)
                if not made:
                    self._copy_up(target, path)
                    self._link(target, path)

    def _copy_up(self, path: bytes, link: bytes) -> None:
        here, base = self._places.place(path)
        with self._places.lower.find(path) as found:
            if found and not stat.S_ISDIR(found.status.st_mode):
                wanted = transfer.known(found.directory, found.name, found.status)
                transfer.file(found.directory, found.name, wanted, here, base, self.owners)
            else:
                raise IntegrityError(f"a layer with a hard link to no file: {shown(link)} to {shown(path)}")


def _blame(error: OSError, name: bytes) -> None:
    """Raise an error of the kernel's as the archive's if it comes from what that says."""
    if error.errno in _MALFORMED:
        raise IntegrityError(f"a layer with an entry that cannot be made: {shown(name)}: {error.strerror}") from error


def _split(name: bytes) -> tuple[bytes, bytes]:
    """The parts of a name above and after its last slash, without ``.`` and ``..``; both are empty for the root.

    What lies in a folder of AUFS's own is named as that folder, so that it is left out as that is.
    """
    if name.startswith(b"./"):
        name = name[2:]  # as tar writes every name if it is told to write "."
    if b"/." in name or b"//" in name or name[:1] in (b"/", b"."):
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts:
                    raise IntegrityError(
                        f"a layer with an entry outside its root: {shown(name)}",
                        hint="the archive is hostile: do not use it",
                    )
                parts.pop()
            elif part not in (b"", b"."):
                parts.append(part)
        name = b"/".join(parts)
        below = next((part for part in parts[:-1] if part.startswith(WHITEOUT)), b"")
        if below.startswith(2 * WHITEOUT):
            return b"", below
        if below:
            raise IntegrityError(f"a layer with an entry below a whiteout: {shown(name)}")
    above, _, base = name.rpartition(b"/")
    return above, base


def _wanted(header: tar.Header) -> Attributes:
    xattrs = header.xattrs
    if xattrs:
        xattrs = {name: value for name, value in xattrs.items() if attributes.is_portable(name)}
    mode = _TYPES[header.type][1] | header.mode
    return Attributes(mode, header.uid, header.gid, header.size, header.mtime_ns, header.major, header.minor, xattrs)


def _is_as_told(file: int, header: tar.Header) -> bool:
    """Whether a new file has the mode and the owner that it was made with: a umask, and some file systems, have it otherwise."""
    status = os.fstat(file)
    return (stat.S_IMODE(status.st_mode), *attributes.ids(status)) == (header.mode, header.uid, header.gid)


def _is_hole(piece: memoryview) -> bool:
    """True of so many zeros that they are worth a look; most content says at its ends that it is none."""
    if len(piece) < _WORTH or piece[0] or piece[-1]:
        return False
    return bytes(piece) == _ZEROS[: len(piece)]


def _write(target: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(target, data, offset)
        data, offset = data[count:], offset + count
