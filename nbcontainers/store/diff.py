"""A folder in overlay form, or any tree, becomes an archive: the same tree, the same bytes."""

from __future__ import annotations

import os
import stat

from ..errors import Conflict
from . import attributes, tar
from .attributes import Attributes
from .entries import KINDS, OPAQUE, WHITEOUT, Index
from .merged import CHANGED, FOLDER

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST = 4095  # PATH_MAX without its zero byte: nothing longer could be unpacked again
_PREFIX = b".wh."
_TRIES = 100  # of one name: whoever exchanges two as quickly as he can is met in between after a few
_HARDLINK = KINDS.index("hardlink")
_TYPES: dict[int, tuple[bytes, int]] = {
    stat.S_IFREG: (tar.REGULAR, KINDS.index("file")),
    stat.S_IFDIR: (tar.DIRECTORY, KINDS.index("directory")),
    stat.S_IFLNK: (tar.SYMLINK, KINDS.index("symlink")),
    stat.S_IFCHR: (tar.CHARACTER, KINDS.index("device")),
    stat.S_IFBLK: (tar.BLOCK_DEVICE, KINDS.index("device")),
    stat.S_IFIFO: (tar.FIFO, KINDS.index("fifo")),
}


def diff(
    upper: int,
    writer: tar.Writer,
    index: Index,
    *,
    below: int | None = None,
    created: int | None = None,
    settle: bool = False,
) -> int:
    """Write a folder in overlay form as a layer, and return how many bytes its files hold. The writer is not closed.

    Entries come in the order of their names, a folder before what is in it, removals before the other names of their folder.
    Owners and devices that could only be recorded come out true; sockets are left out, as tar has no type for them. The root
    has an entry only if its mode or owner is not what it is below.

    Args:
        upper: a descriptor of the folder.
        writer: takes the archive.
        index: gets a row for each entry, in order.
        below: a descriptor of the root of the layer below, if there is one.
        created: seconds since the epoch; no time in the archive is after it.
        settle: True to give files after ``created`` that time on disk too, so that the folder is what the archive says.

    Raises:
        Conflict: a file is named as only a removal may be, or its path is too long.

    Source: OCI image spec 1.1, "Change Types" and "Representing Changes".

    """
    return _Writing(writer, index, created, overlay=True, settle=settle).run(upper, _root(below))


def export(tree: int, writer: tar.Writer) -> int:
    """Write a whole tree, as it is seen mounted, and return how many bytes its files hold. The writer is not closed.

    It may change meanwhile: each name is written as what it is when its turn comes, and left out if it is gone by then.
    """
    return _Writing(writer, None, None, overlay=False, settle=False).run(tree, _root(None))


def _root(below: int | None) -> Attributes:
    if below is None:
        return Attributes(stat.S_IFDIR | 0o755, 0, 0, 0, 0)
    folder = os.open(b".", FOLDER, dir_fd=below)
    try:
        return attributes.read(folder)
    finally:
        os.close(folder)


class _Now:
    """What a name is, as opening it finds it: where a tree is mounted twice, as an overlay that a container has too, that need not
    be what its folder says.
    """

    def __init__(self, folder: int, name: bytes) -> None:
        self._status = os.stat(name, dir_fd=folder, follow_symlinks=False)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISREG(self._status.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self._status


_Entry = os.DirEntry[str] | _Now
_Stack = list[tuple[int, bytes, list[tuple[bytes, os.DirEntry[str]]]]]


class _Writing:
    def __init__(
        self,
        writer: tar.Writer,
        index: Index | None,
        created: int | None,
        *,
        overlay: bool,
        settle: bool,
    ) -> None:
        self._writer = writer
        self._index = index
        self._latest = None if created is None else created * 1_000_000_000
        self._overlay = overlay
        self._settle = settle
        self._links: dict[tuple[int, int], bytes] = {}
        self._size = 0
        self._is_begun = False  # the entry whose turn it is: some of it is written

    def run(self, root: int, expected: Attributes) -> int:
        found = _root(root)
        if (found.mode, found.uid, found.gid, found.xattrs) != (
            expected.mode,
            expected.uid,
            expected.gid,
            expected.xattrs,
        ):
            self._add(b"", found)
        stack = [(os.open(b".", FOLDER, dir_fd=root), b"", self._names(root, b""))]
        try:
            while stack:
                folder, prefix, names = stack[-1]
                if not names:
                    os.close(stack.pop()[0])
                    continue
                name, entry = names.pop()
                self._is_begun = False
                try:
                    self._entry(stack, folder, prefix + name, name, entry)
                except OSError as error:
                    if self._is_begun or error.errno not in CHANGED:
                        raise
                    self._changed(stack, folder, prefix, name)
        finally:
            for folder, _, _ in stack:
                os.close(folder)
        return self._size

    def _changed(self, stack: _Stack, folder: int, prefix: bytes, name: bytes) -> None:
        """Write what a name has come to mean since its folder was read."""
        for left in reversed(range(_TRIES)):
            try:
                entry = _Now(folder, name)
            except FileNotFoundError:
                return
            try:
                if not self._is_removed(entry, prefix, name):
                    self._entry(stack, folder, prefix + name, name, entry)
                return
            except OSError as error:
                if self._is_begun or error.errno not in CHANGED or not left:
                    raise

    def _entry(self, stack: _Stack, folder: int, path: bytes, name: bytes, entry: _Entry) -> None:
        if not entry.is_dir(follow_symlinks=False):
            self._file(folder, name, path, entry)
            return
        inside = os.open(name, FOLDER, dir_fd=folder)
        stack.append((inside, path + b"/", []))
        known = attributes.read(inside)
        self._clamp(known, inside)
        self._add(path, known)
        if self._overlay and attributes.is_opaque(inside):
            self._remove(path + b"/", OPAQUE.encode(), path + b"/" + OPAQUE.encode())
        stack[-1] = (inside, path + b"/", self._names(inside, path + b"/"))

    def _names(self, folder: int, prefix: bytes) -> list[tuple[bytes, os.DirEntry[str]]]:
        """The names of a folder, the last one first. What was removed is written at once.

        The folder itself tells what is a file or a folder, which is opened anyway: only of the rest the status is asked here.
        """
        names = []
        with os.scandir(folder) as entries:
            found = sorted((os.fsencode(entry.name), entry) for entry in entries)  # no name is there twice
        for name, entry in found:
            if self._is_removed(entry, prefix, name):
                continue
            if self._overlay and name.startswith(_PREFIX):
                raise Conflict(
                    f"a layer cannot have a file named {os.fsdecode(prefix + name)!r}",
                    hint="names that begin with .wh. say that a file was removed",
                )
            if len(prefix) + len(name) > _LONGEST:
                raise Conflict(f"a path of more than {_LONGEST} bytes cannot be in a layer")
            names.append((name, entry))
        names.reverse()
        return names

    def _is_removed(self, entry: _Entry, prefix: bytes, name: bytes) -> bool:
        """Whether a name stands for what was removed, which is written then."""
        if not self._overlay or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
            return False
        try:
            if not attributes.is_whiteout(entry.stat(follow_symlinks=False)):
                return False
        except FileNotFoundError:
            return False  # which its turn tells
        self._remove(prefix, _PREFIX + name, prefix + name)
        return True

    def _remove(self, prefix: bytes, name: bytes, path: bytes) -> None:
        self._writer.add(tar.Header(prefix + name))
        if self._index is not None:
            self._index.put(path, WHITEOUT)

    def _file(self, folder: int, name: bytes, path: bytes, entry: _Entry) -> None:
        if entry.is_file(follow_symlinks=False):
            body = os.open(name, _FILE, dir_fd=folder)
            try:
                status = os.fstat(body)
                if not self._linked(folder, name, path, status):
                    known = attributes.read(body, status)
                    self._clamp(known, body)
                    self._add(path, known, body=body)
            finally:
                os.close(body)
            return
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode) or self._linked(folder, name, path, status):
            return
        known = attributes.of(status, folder, name)
        self._clamp(known, name, folder)
        self._add(path, known, link=os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else b"")

    def _linked(self, folder: int, name: bytes, path: bytes, status: os.stat_result) -> bool:
        """Whether a file is another name of one that was written: then that is what is written."""
        if status.st_nlink == 1:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), path)
        if first == path:
            return False
        self._add(path, attributes.of(status, folder, name), link=first, kind=(tar.HARDLINK, _HARDLINK))
        return True

    def _clamp(self, known: Attributes, file: int | bytes, folder: int | None = None) -> None:
        if self._latest is None or known.mtime_ns <= self._latest:
            return
        known.mtime_ns = self._latest
        if self._settle and isinstance(file, int):
            os.utime(file, ns=(self._latest, self._latest))
        elif self._settle:
            os.utime(file, ns=(self._latest, self._latest), dir_fd=folder, follow_symlinks=False)

    def _add(
        self,
        path: bytes,
        known: Attributes,
        *,
        body: int | None = None,
        link: bytes = b"",
        kind: tuple[bytes, int] | None = None,
    ) -> None:
        self._is_begun = True
        flag, word = kind or _TYPES[stat.S_IFMT(known.mode)]
        mode, size = stat.S_IMODE(known.mode), known.size if flag == tar.REGULAR else 0
        header = tar.Header(
            path or b".",
            flag,
            mode,
            known.uid,
            known.gid,
            size,
            known.mtime_ns,
            link,
            known.major,
            known.minor,
            known.xattrs if flag != tar.HARDLINK else {},
        )
        digest = self._writer.add(header, body, digest=self._overlay)
        self._size += size
        if self._index is not None:
            target = b"/" + link if flag == tar.HARDLINK else link
            self._index.put(path, word, mode, known.uid, known.gid, size, digest, target)
