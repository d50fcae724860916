"""Is an unpacked layer still what its index says? Every file of it is read and hashed; names that nobody listed are told too."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator

from ..results import Entry, FileKind
from . import transfer
from .attributes import is_opaque, is_whiteout
from .entries import OPAQUE, Index
from .merged import FOLDER


def faults(tree: int, index: Index) -> Iterator[tuple[str, str]]:
    """The paths of a layer's folder that are not as its index says, each with what is wrong; ``tree`` is a descriptor of it."""
    wanted, whiteouts, opaque = _listed(index)
    for folder, prefix, names in _walk(tree):
        if prefix in opaque and not is_opaque(folder):
            yield prefix, "does not hide any more what lower layers have in it"
        for name, status in names:
            path = f"{prefix.rstrip('/')}/{os.fsdecode(name)}"
            entry = wanted.pop(path, None)
            if is_whiteout(status):
                if path not in whiteouts:
                    yield path, "is removed, which the layer does not say"
                whiteouts.discard(path)
            elif entry is not None:
                if problem := _problem(entry, folder, name, status):
                    yield path, problem
            elif not stat.S_ISDIR(status.st_mode):  # folders on the way to others need no entry of their own
                yield path, "is not of the layer"
    for path in sorted(wanted):
        if path != "/":
            yield path, "is missing"


def _listed(index: Index) -> tuple[dict[str, Entry], set[str], set[str]]:
    """What the rows leave when the last one for a path counts: entries, removed paths, folders that hide what is below."""
    wanted: dict[str, Entry] = {}
    whiteouts: set[str] = set()
    opaque: set[str] = set()
    for entry in index:
        if entry.kind == "whiteout":
            folder, _, name = entry.path.rpartition("/")
            if name == OPAQUE:
                opaque.add(folder or "/")
            else:
                whiteouts.add(entry.path)
            continue
        before = wanted.get(entry.path)
        if before is not None and before.kind == "directory" and entry.kind != "directory":
            inside = entry.path + "/"
            for path in [path for path in wanted if path.startswith(inside)]:
                del wanted[path]
        wanted[entry.path] = entry
    return wanted, whiteouts, opaque


def _walk(tree: int) -> Iterator[tuple[int, str, list[tuple[bytes, os.stat_result]]]]:
    """Each folder with what is in it; the descriptor is valid until the next one is asked for."""
    rest = [b"."]
    while rest:
        here = rest.pop()
        folder = os.open(here, FOLDER, dir_fd=tree)
        try:
            names = [
                (name, os.stat(name, dir_fd=folder, follow_symlinks=False))
                for name in sorted(map(os.fsencode, os.listdir(folder)))
            ]
            yield folder, "/" + os.fsdecode(here[2:]), names
        finally:
            os.close(folder)
        rest += [here + b"/" + name for name, status in reversed(names) if stat.S_ISDIR(status.st_mode)]


def _problem(entry: Entry, folder: int, name: bytes, status: os.stat_result) -> str:
    found = transfer.known(folder, name, status)
    if _KINDS.get(entry.kind, _is_special)(found.mode) is False:
        return f"is no {entry.kind}"
    if entry.kind == "symlink" and os.fsdecode(os.readlink(name, dir_fd=folder)) != entry.link:
        return "leads elsewhere"
    if entry.kind not in ("file", "directory"):
        return ""
    # Owners and set-id bits that this host could not keep were told when the layer was unpacked: what is left is root's.
    if (found.mode ^ entry.mode) & 0o1777 or (found.uid, found.gid) not in ((entry.uid, entry.gid), (0, 0)):
        return f"has the mode {stat.S_IMODE(found.mode):04o} and the owner {found.uid}:{found.gid}"
    if entry.kind == "directory":
        return ""
    if found.size != entry.size:
        return f"has {found.size} bytes and should have {entry.size}"
    with open(os.open(name, transfer.READ, dir_fd=folder), "rb", buffering=0) as file:
        same = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() == entry.digest
    return "" if same else "has other content"


def _is_special(mode: int) -> bool:
    return not stat.S_ISDIR(mode)


_KINDS: dict[FileKind, Callable[[int], bool]] = {
    "directory": stat.S_ISDIR,
    "file": stat.S_ISREG,
    "symlink": stat.S_ISLNK,
    "hardlink": _is_special,
}
