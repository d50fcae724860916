"""Layers in overlay form, seen as one tree without mounting them: what a path is once upper layers have hidden lower ones.

Every step goes from descriptor to descriptor without following links, so no layer leads outside itself.
Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from .attributes import is_opaque, is_whiteout

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CHANGED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.ENODATA})
"""What is said of a name that has come to mean something else, or nothing, since its folder was read."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path of the merged tree really is: ``name`` in the folder ``directory``, a descriptor that stays its giver's."""

    directory: int
    name: bytes
    status: os.stat_result


class Folder:
    """One folder of the merged tree: its parts in the layers that have it, from the top down, down to an opaque one.

    Used as a context manager where it was made by ``enter``, which opens the parts. Without parts it is empty.
    """

    def __init__(self, parts: Sequence[int]) -> None:
        self._parts = tuple(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for part in self._parts:
            os.close(part)

    def get(self, name: bytes) -> Found | None:
        """What a name is here; None if it is not there or was removed."""
        for part in self._parts:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=part, follow_symlinks=False)
                return None if is_whiteout(status) else Found(part, name, status)
        return None

    def names(self) -> dict[bytes, Found]:
        """All that is here, in the order of the names."""
        found: dict[bytes, Found | None] = {}
        for part in self._parts:
            for name in map(os.fsencode, os.listdir(part)):
                if name not in found:
                    status = os.stat(name, dir_fd=part, follow_symlinks=False)
                    found[name] = None if is_whiteout(status) else Found(part, name, status)
        return {name: entry for name, entry in sorted(found.items()) if entry is not None}

    def enter(self, name: bytes) -> Folder:
        """The folder of that name; an empty one if there is none."""
        parts: list[int] = []
        for above in self._parts:
            try:
                part = os.open(name, FOLDER, dir_fd=above)
            except FileNotFoundError:
                continue
            except OSError:
                break  # a file, a link or a whiteout: what lies below is hidden
            parts.append(part)
            if is_opaque(part):
                break
        return Folder(parts)

    def walk(self, prefix: bytes = b"") -> Iterator[tuple[bytes, Found]]:
        """Every relative path in and below it, a folder before what it holds."""
        for name, found in self.names().items():
            yield prefix + name, found
            if stat.S_ISDIR(found.status.st_mode):
                with self.enter(name) as inside:
                    yield from inside.walk(prefix + name + b"/")


class Merged(Folder):
    """The root of the tree that layers make together; ``layers`` are descriptors of their folders, from the base up."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__(tuple(reversed(layers)))

    @contextlib.contextmanager
    def find(self, path: bytes) -> Iterator[Found | None]:
        """What a relative path is; None where it is not. Links on the way are not followed: below one there is nothing."""
        *above, name = path.split(b"/")
        with contextlib.ExitStack() as opened:
            here: Folder = self
            for part in above:
                here = opened.enter_context(here.enter(part))
            yield here.get(name)
