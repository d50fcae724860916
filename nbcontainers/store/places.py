"""The folders of a layer that is being unpacked: where an entry goes, whatever its name and the links on its way say."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import IntegrityError
from ..linux import syscalls
from . import attributes, merged, removal
from .attributes import OPAQUE, Attributes, Owners, is_whiteout, proc

_BELOW = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_MOST_LINKS = 40  # as the kernel follows, path_resolution(7)
_MOST_OPEN = 200  # folders kept open
_INHERITED = b"system.posix_acl_default"


class _Last(NamedTuple):
    """What a folder gets in the end: its mode (0: it has it), its time and its default ACL, which new files would inherit."""

    mode: int
    mtime_ns: int
    is_plain: bool
    inherited: bytes


class Places:
    """The folders of one layer in overlay form, opened by their real paths: relative bytes without links, ``.`` and ``..``.

    A descriptor that a method returns is valid until ``settle`` or ``close``.
    """

    def __init__(self, root: int, parents: Sequence[int], owners: Owners) -> None:
        self._root = root
        self._parents = parents
        self.lower = merged.Merged(parents)
        self._owners = owners
        self._open: dict[bytes, int] = {}
        self._folders: dict[bytes, _Last] = {}
        self._own = attributes.own()
        self._root_is_opaque = False

    def close(self) -> None:
        """Close every descriptor but the root's."""
        while self._open:
            os.close(self._open.popitem()[1])

    def settle(self) -> None:
        """Between two entries: close what is open if it is much."""
        if len(self._open) > _MOST_OPEN:
            self.close()

    def parent(self, path: bytes, mtime_ns: int) -> tuple[int, bytes]:
        """The folder that a name's first part means, made if it is not there: a descriptor that stays ours, and its real path."""
        known = self._open.get(path)
        if known is not None:
            return known, path
        try:
            return self.opened(path), path
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        pending, at, links = path.split(b"/")[::-1], b"", 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                at = at.rpartition(b"/")[0]
                continue
            here, child = self.opened(at), at + b"/" + part if at else part
            target = self._step(here, part, child, mtime_ns)
            if target is None:
                at = child
                continue
            links += 1
            if links > _MOST_LINKS:
                raise IntegrityError(f"a layer with links that go in a circle: {shown(path)}")
            pending += target.split(b"/")[::-1]
            at = b"" if target.startswith(b"/") else at
        return self.opened(at), at

    def _step(self, here: int, part: bytes, child: bytes, mtime_ns: int) -> bytes | None:
        """Make sure that one part of a path is a folder of this layer, or return the target of the link that it is."""
        try:
            status = os.stat(part, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            with self.lower.find(child) as found:
                if found and stat.S_ISLNK(found.status.st_mode):
                    return os.readlink(found.name, dir_fd=found.directory)
                os.mkdir(part, 0o700, dir_fd=here)
                self._inherit(child, found, mtime_ns)
                return None
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(part, dir_fd=here)
        if is_whiteout(status):
            os.unlink(part, dir_fd=here)
            os.mkdir(part, 0o700, dir_fd=here)
            os.setxattr(proc(here, part), OPAQUE, b"y")
            self._inherit(child, None, mtime_ns)
        elif not stat.S_ISDIR(status.st_mode):
            raise IntegrityError(f"a layer with an entry below a file: {shown(child)}")
        return None

    def opened(self, path: bytes) -> int:
        """A descriptor of one of this layer's folders, by its real path."""
        if not path:
            return self._root
        found = self._open.get(path)
        if found is None:
            found = syscalls.openat2(self._root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_BELOW)
            self._open[path] = found
        return found

    def begin(self) -> None:
        """The topmost layer's root is the one that is seen, so a layer that does not speak of it repeats what is below."""
        wanted = Attributes(stat.S_IFDIR | 0o755, 0, 0, 0, 0)
        if self._parents:
            here = os.open(b".", merged.FOLDER, dir_fd=self._parents[-1])
            try:
                wanted = attributes.read(here)
            finally:
                os.close(here)
        self.keep(b"", wanted)

    def _inherit(self, path: bytes, below: merged.Found | None, mtime_ns: int) -> None:
        """Give a folder that no entry speaks of the attributes that it has in lower layers, else Docker's."""
        wanted = Attributes(stat.S_IFDIR | 0o755, 0, 0, 0, mtime_ns)
        if below and stat.S_ISDIR(below.status.st_mode):
            lower = os.open(below.name, merged.FOLDER, dir_fd=below.directory)
            try:
                wanted = attributes.read(lower)
            finally:
                os.close(lower)
        self.keep(path, wanted)

    def replace(self, here: int, base: bytes, path: bytes) -> bool:
        """Remove what has the name in this layer; True if something had."""
        try:
            os.unlink(base, dir_fd=here)
        except FileNotFoundError:
            return False
        except (IsADirectoryError, PermissionError):  # POSIX's and Linux's answers for a folder
            for known in [known for known in self._open if (known + b"/").startswith(path + b"/")]:
                os.close(self._open.pop(known))
            for known in [known for known in self._folders if (known + b"/").startswith(path + b"/")]:
                del self._folders[known]
            removal.remove(here, base)
        return True

    def keep(self, path: bytes, wanted: Attributes) -> None:
        """Give a folder its attributes: mode, time and what new files take on only once nothing more is put into it."""
        folder = self.opened(path)
        inherited = wanted.xattrs.get(_INHERITED, b"")
        if inherited:
            rest = {name: value for name, value in wanted.xattrs.items() if name != _INHERITED}
            wanted = replace(wanted, xattrs=rest)
        self._owners.give(folder, wanted)
        mode = 0
        if attributes.on_disk(wanted.mode) & (0o700 | stat.S_ISGID) != 0o700:
            os.fchmod(folder, 0o700)
            mode = wanted.mode
        is_plain = (wanted.uid, wanted.gid) == self._own
        self._folders[path] = _Last(mode, wanted.mtime_ns, is_plain, inherited)

    def is_plain(self, path: bytes) -> bool:
        """Whether what is made in a folder has this process's ids, and the mode that it is made with."""
        known = self._folders.get(path)
        return known is not None and known.is_plain

    def place(self, path: bytes) -> tuple[int, bytes]:
        """The folder of a real path and the name in it."""
        above, _, base = path.rpartition(b"/")
        return self.opened(above), base

    def hide(self, path: bytes) -> None:
        """Hide what lower layers have in a folder. An overlay does not ask its root whether it is opaque: see ``finish``."""
        if not path:
            self._root_is_opaque = True
            return
        os.setxattr(self.opened(path), OPAQUE, b"y")

    def _hide_root(self) -> None:
        for name in self.lower.names():
            with contextlib.suppress(FileExistsError):
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._root)
                continue
            with contextlib.suppress(NotADirectoryError):
                folder = os.open(name, merged.FOLDER, dir_fd=self._root)
                try:
                    os.setxattr(folder, OPAQUE, b"y")
                finally:
                    os.close(folder)

    def finish(self) -> None:
        """Give the folders their modes and times: nothing more is put into them."""
        if self._root_is_opaque:
            self._hide_root()
        for path, last in reversed(self._folders.items()):
            if len(self._open) > _MOST_OPEN:
                self.close()
            if last.inherited:
                self._owners.attribute(self.opened(path), _INHERITED, last.inherited)
            if last.mode:
                os.fchmod(self.opened(path), attributes.on_disk(last.mode))
            here, base = self.place(path)
            os.utime(base or b".", ns=(last.mtime_ns, last.mtime_ns), dir_fd=here, follow_symlinks=False)


def shown(name: bytes) -> str:
    """A name from an archive, fit for a message."""
    return repr(os.fsdecode(name[:200]))
