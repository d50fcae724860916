"""Files copied into a tree as COPY copies them, whatever links the tree has: every path is resolved inside it."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace

from ..errors import Conflict, NotFound
from ..linux import syscalls
from . import attributes, merged, modes, transfer, unarchive
from .attributes import Attributes, Owners
from .lookups import INSIDE, real, text
from .picking import Picking

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# What is said of a path where something else lies, or nothing, than a moment before; EAGAIN and EXDEV are of openat2(2).
_CHANGED = frozenset(
    (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EAGAIN, errno.EXDEV, errno.ENXIO)
)


class Copying:
    """One COPY into one tree. ``close`` gives the folders that were copied their times, and must be called.

    Args:
        root: a descriptor of the tree's root.
        destination: an absolute path in it.
        owner: what everything gets for an owner; None to let each file have that of its source.
        mode: what becomes of the permissions of files and folders, as ``modes`` reads it; empty to let each have its source's.
        beside: a descriptor of the folder that has the tree's ledger.

    """

    def __init__(
        self, root: int, destination: bytes, owner: tuple[int, int] | None, mode: str, beside: int = -1
    ) -> None:
        self._root = root
        self._destination = b"/" + real(root, destination).strip(b"/")
        self._owner = owner
        self._mode = modes.parse(mode) if mode else None
        # Folders that are made on the way have it too, by BuildKit's umask, where it is a number and so says what they are to be.
        self._made_mode = int(mode, 8) & 0o755 if mode.isdecimal() else 0o755
        self._links: dict[tuple[int, int], bytes] = {}
        self._folders: list[tuple[bytes, Attributes]] = []
        self._narrow: list[tuple[bytes, Attributes]] = []
        self._last: tuple[bytes, int] = (b"", -1)
        self.owners = Owners(beside)
        self.size = 0
        self.count = 0  # of what was put below the destination

    def close(self) -> None:
        """Give the copied folders their attributes, which may forbid to put anything in, and their times."""
        if self._last[1] >= 0:
            os.close(self._last[1])
        while self._folders:
            path, wanted = self._folders.pop()
            folder = self._opened(path)
            try:
                transfer.finish(folder, wanted, self.owners)
            finally:
                os.close(folder)
        while self._narrow:
            path, wanted = self._narrow.pop()
            folder = self._opened(path)
            try:
                self.owners.give(folder, wanted)
            finally:
                os.close(folder)

    def is_folder(self) -> bool:
        """True if the destination is a folder of the tree."""
        try:
            os.close(syscalls.openat2(self._root, self._destination, _FOLDER, resolve=INSIDE))
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return False
        return True

    def unpack(self, archive: bytes, owner: tuple[int, int] | None) -> None:
        """Put what an archive of the host has into the destination, which is a folder then; without an owner its own count, too."""
        folder = self._made(self._destination, 0o755)  # a mode is for what is copied
        try:
            self.size += unarchive.unpack(archive, folder, self.owners, owner)
        finally:
            os.close(folder)

    def put(self, source: int, name: bytes, known: Attributes, relative: bytes, inode: os.stat_result) -> None:
        """Copy one file, link or folder (not what is in it) to a path below the destination, or with an empty one to it itself.

        Args:
            source: a descriptor of the folder that ``name`` is in; any, if that is absolute.
            name: what to copy.
            known: its attributes in truth.
            relative: where to.
            inode: its status, by which hard links among what is copied are found.

        """
        wanted = Attributes(
            known.mode, known.uid, known.gid, known.size, known.mtime_ns, known.major, known.minor, known.xattrs
        )
        if self._owner is not None:
            wanted.uid, wanted.gid = self._owner
        if self._mode is not None and not stat.S_ISLNK(wanted.mode):
            wanted.mode = self._mode(wanted.mode)
        target = self._destination.rstrip(b"/") + b"/" + relative if relative else self._destination
        self.count += bool(relative)
        if stat.S_ISDIR(wanted.mode):
            self._folder(target, wanted, is_top=not relative)
            return
        above, _, base = target.rpartition(b"/")
        if not base:
            raise Conflict("a file cannot be copied to /", hint="end the destination with the file's name")
        here = self._parent(above)
        self._clear(here, base, target)
        if inode.st_nlink > 1:
            first = self._links.setdefault((inode.st_dev, inode.st_ino), target)
            if first != target:
                before, _, linked = first.rpartition(b"/")
                there = syscalls.openat2(self._root, before or b"/", _FOLDER, resolve=INSIDE)
                try:
                    os.link(linked, base, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
                finally:
                    os.close(there)
                return
        self.size += transfer.file(source, name, wanted, here, base, self.owners)

    def _folder(self, target: bytes, wanted: Attributes, *, is_top: bool) -> None:
        """Make a folder, or take the one that is there: the destination itself then stays as it is, others become as the source's."""
        above, _, base = target.rpartition(b"/")
        made = False
        if base:
            here = self._parent(above)
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, 0o700, dir_fd=here)
                made = True
            if not made and not is_top and not stat.S_ISDIR(os.stat(base, dir_fd=here, follow_symlinks=False).st_mode):
                raise Conflict(
                    f"{text(target)} is no folder, and a folder should be copied to it",
                    hint="it is a file or a link to a folder: name what it leads to, or remove it first",
                )
        os.close(self._opened(target))  # if it is one, though the destination itself may be a link to it
        if made and is_top:
            uid, gid = self._owner or (0, 0)
            wanted = Attributes(stat.S_IFDIR | self._made_mode, uid, gid, 0, wanted.mtime_ns)
        if made or not is_top:
            self._folders.append((target, wanted))

    def _parent(self, path: bytes) -> int:
        """A descriptor of a folder of the tree, which stays ours until the next one is asked for; made if it is not there."""
        known, descriptor = self._last
        if descriptor < 0 or known != path:
            found = self._made(path or b"/", self._made_mode)
            if descriptor >= 0:
                os.close(descriptor)
            self._last = (path, found)
        return self._last[1]

    def _made(self, path: bytes, mode: int) -> int:
        """The folder, opened; it and those above it are made where they are missing, and belong to whom the copies do."""
        parts, missing = path.split(b"/"), []
        while True:
            try:
                here = self._opened(b"/".join(parts) or b"/")
                break
            except FileNotFoundError:
                missing.append(parts.pop())
        done = parts
        while missing:
            name = missing.pop()
            done = [*done, name]
            try:
                try:
                    os.mkdir(name, 0o700, dir_fd=here)
                except FileExistsError:  # a link to nothing
                    raise Conflict(
                        f"{text(path)} leads through a link to nothing", hint="remove it, or name another destination"
                    ) from None
                inside = os.open(name, merged.FOLDER, dir_fd=here)
            finally:
                os.close(here)
            here = inside
            wanted = Attributes(stat.S_IFDIR | mode, *(self._owner or (0, 0)), 0, 0)
            self.owners.give(here, replace(wanted, mode=wanted.mode | 0o700))
            if wanted.mode & 0o700 != 0o700:  # something is yet to be put in
                self._narrow.append((b"/".join(done), wanted))
        return here

    def _opened(self, path: bytes) -> int:
        try:
            return syscalls.openat2(self._root, path, _FOLDER, resolve=INSIDE)
        except NotADirectoryError:
            raise Conflict(f"{text(path)} is no folder", hint="remove the file first, or copy elsewhere") from None

    def _clear(self, here: int, base: bytes, target: bytes) -> None:
        try:
            os.unlink(base, dir_fd=here)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):  # POSIX's and Linux's answers for a folder
            raise Conflict(
                f"{text(target)} is a folder, and a file should replace it", hint="remove it first, or copy elsewhere"
            ) from None


def from_host(copying: Copying, source: bytes, relative: bytes) -> None:
    """Copy one file, link or folder of the host: with its mode and time, with no attributes, and 0:0 for an owner."""
    try:
        status = os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no such file to copy: {text(source)}", hint="it was there when the build began") from None
    known = attributes.of(status, -1, source)
    copying.put(-1, source, Attributes(known.mode, 0, 0, 0, known.mtime_ns, known.major, known.minor), relative, status)


def from_tree(copying: Copying, tree: int, sources: list[bytes], *, directory: bool, picking: Picking) -> None:
    """Copy what patterns name in another tree: of a folder the content, of a file the file.

    Of the content only what is picked, with the folders that lead there.
    """
    found = [path for pattern in sources for path in _matches(tree, pattern)]
    for path in found:
        base = path.rpartition(b"/")[2]
        try:
            folder = syscalls.openat2(tree, path or b"/", _FOLDER, resolve=INSIDE)
        except NotADirectoryError:
            # Each takes the place of the one before, as with BuildKit, unless the destination is a folder (by now).
            _one(copying, tree, path, base if directory or copying.is_folder() else b"")
            continue
        with merged.Folder((folder,)) as opened:
            copying.put(folder, b".", attributes.read(folder), b"", os.fstat(folder))
            _content(copying, opened, picking)


def fill(tree: int, path: bytes, place: int) -> Owners:
    """Copy a folder of a tree, itself and all that is in it, over an open, empty one; nothing where the tree has no such folder.

    Raises:
        Conflict: somebody else put something there, or took something away, meanwhile.
    """
    try:
        folder = syscalls.openat2(tree, path, _FOLDER, resolve=INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        return Owners()
    with merged.Folder((folder,)) as opened:
        wanted = attributes.read(folder)
        try:
            with contextlib.closing(Copying(place, b"/", None, "")) as target:
                _content(target, opened, Picking((), ()))
        except (Conflict, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _CHANGED:
                raise
            raise Conflict(
                f"somebody changed the volume while it was filled with what the image has in {text(path)}",
                hint="try again when nobody else uses it, empty it before, or have it as it is: --mount …,volume-nocopy",
            ) from error
    transfer.finish(place, wanted, target.owners)
    return target.owners


def _content(copying: Copying, folder: merged.Folder, picking: Picking) -> None:
    waiting: dict[bytes, merged.Found] = {}  # folders that are made only if something in them is picked
    for path, found in folder.walk():
        if not picking.picks_all and not picking.picks(path):
            if stat.S_ISDIR(found.status.st_mode):
                waiting[path] = found
            continue
        parts = path.split(b"/")
        for depth in range(1, len(parts) if waiting else 0):
            above = waiting.pop(b"/".join(parts[:depth]), None)
            if above is not None:
                _put(copying, b"/".join(parts[:depth]), above)
        _put(copying, path, found)


def _put(copying: Copying, path: bytes, found: merged.Found) -> None:
    known = transfer.known(found.directory, found.name, found.status)
    copying.put(found.directory, found.name, known, path, found.status)


def _one(copying: Copying, tree: int, path: bytes, relative: bytes) -> None:
    """Copy the file that a path means, through links of the tree."""
    for _ in range(40):
        above, _, base = path.rpartition(b"/")
        folder = syscalls.openat2(tree, above or b"/", _FOLDER, resolve=INSIDE)
        try:
            status = os.stat(base, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                copying.put(folder, base, transfer.known(folder, base, status), relative, status)
                return
            target = os.readlink(base, dir_fd=folder)
        finally:
            os.close(folder)
        path = target if target.startswith(b"/") else above + b"/" + target
    raise NotFound(f"links go in a circle: {text(path)}")


class Missing(NotFound):
    """What a pattern needs is not there: the folder in which it is looked for, or what a link that it names leads to."""


def _matches(tree: int, pattern: bytes) -> list[bytes]:
    """The paths that a pattern names, in order: NotFound if there is none, Missing if there cannot be one."""
    above = re.split(rb"[*?\[]", pattern)[0].rpartition(b"/")[0]
    try:
        os.close(syscalls.openat2(tree, above or b"/", _FOLDER, resolve=INSIDE))
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(f"no such folder to copy from: {text(above)}", hint="in the stage or image of --from") from None
    paths = [b""]
    for part in pattern.strip(b"/").split(b"/") if pattern.strip(b"/") else []:
        paths = [path + b"/" + name for path in paths for name in _names(tree, path, part)]
    for path in paths.copy():
        try:
            os.close(syscalls.openat2(tree, path or b"/", os.O_PATH, resolve=INSIDE))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            with contextlib.suppress(OSError):
                os.close(syscalls.openat2(tree, path, os.O_PATH | os.O_NOFOLLOW, resolve=INSIDE))
                raise Missing(
                    f"no such file to copy: what the link {text(path)} leads to", hint="remove the link, or copy others"
                ) from None
            paths.remove(path)
    if not paths:
        raise NotFound(
            f"no such file to copy: {text(pattern)}", hint="the path is looked up in the stage or image of --from"
        )
    return paths


def _names(tree: int, path: bytes, part: bytes) -> Iterator[bytes]:
    if not re.search(rb"[*?\[\\]", part):
        yield part
        return
    # Go's patterns are those of fnmatch but for [^…], the backslash, and a "!" that is like any other sign.
    words = re.sub(rb"\[!([^]]+)\]", rb"[\1!]", re.sub(rb"\\(.)", lambda found: b"[" + found[1] + b"]", part))
    words = words.replace(b"[^", b"[!")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder = syscalls.openat2(tree, path or b"/", _FOLDER, resolve=INSIDE)
        try:
            names = sorted(map(os.fsencode, os.listdir(folder)))
        finally:
            os.close(folder)
        yield from (name for name in names if fnmatch.fnmatchcase(name, words))
