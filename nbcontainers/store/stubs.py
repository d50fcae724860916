"""What a snapshot has only because something was mounted on it: taken away again, so that it is no part of the layer.

A command that ran there may have replaced any folder by a link, so every step goes by descriptor and follows none
(CVE-2024-23652 is what happens else).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from ..linux import syscalls
from .attributes import OPAQUE
from .merged import FOLDER, Found, Merged

_LINKS = 40
_STRICT = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS


def clear(upper: int, lower: Merged, destinations: Sequence[bytes], *, copied: bool) -> None:
    """Remove the stubs of some mounts.

    Args:
        upper: a descriptor of the snapshot's own folder.
        lower: the layers below it.
        destinations: where was mounted, absolute.
        copied: the folder is a whole copy, not an overlay's upper one: then what the layers have stays.

    """
    for destination in sorted(destinations, key=len, reverse=True):
        path = _resolved(lower, destination)
        while path:
            with lower.find(path) as below:
                # In an overlay a folder that is as it was is there for what was made in it; in a copy everything is there.
                if (below is not None and copied) or not _removed(upper, path, below):
                    break
            path = path.rpartition(b"/")[0]


def _resolved(lower: Merged, destination: bytes) -> bytes:
    """Where a mount went: its path with the links followed that were there before anything ran."""
    done, left, followed = list[bytes](), destination.split(b"/")[::-1], 0
    while left:
        part = left.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del done[-1:]
            continue
        with lower.find(b"/".join((*done, part))) as found:
            is_link = found is not None and stat.S_ISLNK(found.status.st_mode)
            target = os.readlink(found.name, dir_fd=found.directory) if found is not None and is_link else None
        if target is None:
            done.append(part)
            continue
        followed += 1
        if followed > _LINKS:
            return b""
        done = [] if target.startswith(b"/") else done
        left += target.split(b"/")[::-1]
    return b"/".join(done)


def _removed(upper: int, path: bytes, below: Found | None) -> bool:
    """Remove an empty file or folder that is new, or a folder that is as it is below; False where it is neither."""
    above, _, base = path.rpartition(b"/")
    try:
        here = syscalls.openat2(upper, above or b".", FOLDER, resolve=_STRICT)
    except OSError:
        return False
    try:
        status = os.stat(base, dir_fd=here, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and (below is None or _kept(here, base) == _kept(below.directory, below.name)):
            os.rmdir(base, dir_fd=here)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0 and below is None:
            os.unlink(base, dir_fd=here)
        else:
            return False
    except OSError:
        return False
    finally:
        os.close(here)
    return True


def _kept(directory: int, name: bytes) -> tuple[object, ...]:
    """What a folder is beside its name and time. Overlay notes in attributes where it copied a folder from: that is nothing new."""
    folder = os.open(name, FOLDER, dir_fd=directory)
    try:
        status = os.fstat(folder)
        names = [name for name in os.listxattr(folder) if not name.startswith("user.overlay.") or name == OPAQUE]
        return (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            [(name, os.getxattr(folder, name)) for name in sorted(names)],
        )
    finally:
        os.close(folder)
