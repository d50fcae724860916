"""What a writable tree changed on the layers below it: told, and for a copied tree brought into overlay form."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..results import ChangeKind
from . import attributes, transfer
from .attributes import Owners, is_opaque, is_whiteout
from .merged import CHANGED, FOLDER, Folder, Found


@dataclass(slots=True)
class Difference:
    """A changed path, relative; ``status`` is None for one that is gone. A folder is told before what changed in it.

    It is ``name`` in the folder ``directory``, a descriptor that is valid until the next one is asked for; so is that of ``before``,
    which is what was modified.
    """

    kind: ChangeKind
    path: bytes
    status: os.stat_result | None
    directory: int
    name: bytes
    before: Found | None = None

    @property
    def size(self) -> int:
        """Bytes of a regular file's content."""
        return self.status.st_size if self.status and stat.S_ISREG(self.status.st_mode) else 0


def of_overlay(upper: int, lower: Folder, prefix: bytes = b"") -> Iterator[Difference]:
    """What an upper directory says about the tree below it, in the order of the paths.

    It may change meanwhile: what is gone before its turn comes is not told, or nothing of what was in it.
    """
    below = lower.names()
    names = set(map(os.fsencode, os.listdir(upper)))
    # In an opaque folder everything that is not here again is gone.
    hidden = set(below) - names if prefix and is_opaque(upper) else set()
    for name in sorted(names | hidden):
        path = prefix + name
        if name in hidden:
            yield Difference("deleted", path, None, upper, name)
            continue
        status = _status(upper, name)
        if status is None:
            continue
        if is_whiteout(status):
            if name in below:
                yield Difference("deleted", path, None, upper, name)
            continue
        before = below.get(name)
        yield Difference("modified" if before else "added", path, status, upper, name, before)
        if stat.S_ISDIR(status.st_mode):
            with _inside(upper, name) as inside, lower.enter(name) as deeper:
                if inside is not None:
                    yield from of_overlay(inside, deeper, path + b"/")


def of_copy(tree: int, lower: Folder, copied_ns: int, prefix: bytes = b"") -> Iterator[Difference]:
    """What differs between a tree and the one that it was copied from, in the order of the paths.

    ``copied_ns`` is an instant after the copy was complete, by the file system's clock: the change time of an inode, which no
    program can set, tells whether it was touched since, and only of those that were are attributes and contents compared.
    The tree may change meanwhile, as in ``of_overlay``.
    """
    below = lower.names()
    names = set(map(os.fsencode, os.listdir(tree)))
    for name in sorted(names | set(below)):
        path, before = prefix + name, below.get(name)
        if name not in names:
            yield Difference("deleted", path, None, tree, name)
            continue
        status = _status(tree, name)
        if status is None:
            continue
        changed = before is None or (
            status.st_ctime_ns >= copied_ns and _differ(tree, name, status, before.directory, before.status)
        )
        here: Difference | None = Difference("modified" if before else "added", path, status, tree, name, before)
        if not stat.S_ISDIR(status.st_mode):
            if changed and here:
                yield here
            continue
        with _inside(tree, name) as inside, lower.enter(name) as deeper:
            # A folder in which something changed is changed, as it is in an overlay.
            for difference in of_copy(inside, deeper, copied_ns, path + b"/") if inside is not None else ():
                if here:
                    yield here
                    changed, here = False, None
                yield difference
        if changed and here:
            yield here


def visible(differences: Iterable[Difference]) -> Iterator[Difference]:
    """Those that a person sees: not what only lies in the upper directory, because somebody asked for what it was already, nor a
    folder that has the time of another change and nothing else.

    The descriptors of a folder are not valid any more. Source: moby, pkg/archive/changes.go and changes_unix.go (statDifferent).
    """
    folders: list[Difference] = []  # around what comes next, as far as nothing was told of them
    for one in differences:
        folders = [folder for folder in folders if one.path.startswith(folder.path + b"/")]
        if one.before is None or one.status is None or _is_seen(one, one.status, one.before):
            yield from folders
            yield one
            folders = []
        elif stat.S_ISDIR(one.status.st_mode):
            folders.append(one)


def _is_seen(one: Difference, status: os.stat_result, before: Found) -> bool:
    if not (stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(before.status.st_mode)):
        return _differ(one.directory, one.name, status, before.directory, before.status)
    try:
        after, was = _folder(one.directory, one.name), _folder(before.directory, before.name)
    except OSError as error:  # as in _differ
        if error.errno not in CHANGED:
            raise
        return True
    return replace(after, mtime_ns=0) != replace(was, mtime_ns=0)


def _status(folder: int, name: bytes) -> os.stat_result | None:
    """None of what is gone by now."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _inside(folder: int, name: bytes) -> Iterator[int | None]:
    """A folder in another one; None where it is none any more."""
    try:
        inside = os.open(name, FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno not in CHANGED:
            raise
        yield None
        return
    try:
        yield inside
    finally:
        os.close(inside)


def _differ(tree: int, name: bytes, status: os.stat_result, below: int, before: os.stat_result) -> bool:
    try:
        return _is_other(tree, name, status, below, before)
    except OSError as error:  # it changes just now
        if error.errno not in CHANGED:
            raise
        return True


def _is_other(tree: int, name: bytes, status: os.stat_result, below: int, before: os.stat_result) -> bool:
    after, was = transfer.known(tree, name, status), transfer.known(below, name, before)
    if after != was or stat.S_IFMT(status.st_mode) != stat.S_IFMT(before.st_mode):
        return True
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(name, dir_fd=tree) != os.readlink(name, dir_fd=below)
    return stat.S_ISREG(status.st_mode) and _content(tree, name) != _content(below, name)


def _content(directory: int, name: bytes) -> bytes:
    with open(os.open(name, transfer.READ, dir_fd=directory), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()


def into_overlay(tree: int, differences: Iterator[Difference], upper: int, *, keep: bool) -> None:
    """Bring the changed files of a copied tree into overlay form in an empty folder on the same file system.

    They are moved there, or with ``keep`` linked, so that the tree stays whole; the overlay form is then only to be read.
    """
    owners = Owners()  # of folders only, which need no ledger
    folders = [(b"", _folder(tree, b"."))]
    for difference in differences:
        path, status, here, name = difference.path, difference.status, difference.directory, difference.name
        if status is None:
            os.mknod(path, stat.S_IFCHR, 0, dir_fd=upper)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(path, 0o700, dir_fd=upper)
            folders.append((path, _folder(here, name)))
        elif keep:
            os.link(name, path, src_dir_fd=here, dst_dir_fd=upper, follow_symlinks=False)
        else:
            os.rename(name, path, src_dir_fd=here, dst_dir_fd=upper)
    _finish(upper, folders, owners)


def _finish(root: int, folders: list[tuple[bytes, attributes.Attributes]], owners: Owners) -> None:
    """Give folders their attributes and times once nothing more is put into them."""
    for path, wanted in reversed(folders):
        made = os.open(path or b".", FOLDER, dir_fd=root)
        try:
            transfer.finish(made, wanted, owners)
        finally:
            os.close(made)


def _folder(directory: int, name: bytes) -> attributes.Attributes:
    opened = os.open(name, FOLDER, dir_fd=directory)
    try:
        return attributes.read(opened)
    finally:
        os.close(opened)


def fill(lower: Folder, root: int, target: int) -> None:
    """Copy a merged tree into an empty folder, with its hard links; ``root`` is the folder that has the root's attributes."""
    beside = os.open(b"..", FOLDER, dir_fd=target)  # where its ledger is
    owners = Owners(beside)
    links: dict[tuple[int, int], bytes] = {}
    folders = [(b"", _folder(root, b"."))]
    for path, found in lower.walk():
        wanted = transfer.known(found.directory, found.name, found.status)
        if stat.S_ISDIR(found.status.st_mode):
            os.mkdir(path, 0o700, dir_fd=target)
            folders.append((path, wanted))
            continue
        if found.status.st_nlink > 1:
            first = links.setdefault((found.status.st_dev, found.status.st_ino), path)
            if first != path:
                os.link(first, path, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
                continue
        transfer.file(found.directory, found.name, wanted, target, path, owners)
    _finish(target, folders, owners)
    os.close(beside)
