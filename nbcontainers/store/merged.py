"""Layers in overlay form, seen as one tree without mounting them: what a path is once upper layers have hidden lower ones.

Every step goes from descriptor to descriptor without following links, so no layer leads outside itself.
Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .attributes import is_opaque, is_whiteout

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path of the merged tree really is: ``name`` in the folder ``directory``, a descriptor that its giver closes."""

    directory: int
    name: bytes
    status: os.stat_result


class Merged:
    """The tree that layers make together; ``layers`` are descriptors of their folders, from the base up."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = tuple(reversed(layers))

    @contextlib.contextmanager
    def find(self, path: bytes) -> Iterator[Found | None]:
        """What a relative path is; None where it is not. Links on the way are not followed: below one there is nothing."""
        *above, name = path.split(b"/")
        with contextlib.ExitStack() as opened:
            for layer in self._layers:
                here, hidden = layer, False
                try:
                    for part in above:
                        here = os.open(part, FOLDER, dir_fd=here)
                        opened.callback(os.close, here)
                        hidden = hidden or is_opaque(here)
                    status = os.stat(name, dir_fd=here, follow_symlinks=False)
                except FileNotFoundError:
                    if hidden:
                        break
                    continue
                except OSError:
                    break
                yield None if is_whiteout(status) else Found(here, name, status)
                return
            yield None

    def walk(self) -> Iterator[tuple[bytes, Found]]:
        """Every path below the root, parents before what they hold, in the order of their names."""
        yield from _walk(self._layers, b"")

    def names(self) -> frozenset[bytes]:
        """The names in the root folder."""
        return frozenset(name for name, *_ in _listing(self._layers))


def _listing(folders: Sequence[int]) -> Iterator[tuple[bytes, int, os.stat_result]]:
    """The names of one folder, given as its parts from the top down: name, the part that has it, its place in the list."""
    seen: set[bytes] = set()
    for place, folder in enumerate(folders):
        for name in os.listdir(folder):
            raw = os.fsencode(name)
            if raw not in seen:
                seen.add(raw)
                status = os.stat(raw, dir_fd=folder, follow_symlinks=False)
                if not is_whiteout(status):
                    yield raw, place, status


def _walk(folders: Sequence[int], prefix: bytes) -> Iterator[tuple[bytes, Found]]:
    for name, place, status in sorted(_listing(folders), key=lambda row: row[0]):
        yield prefix + name, Found(folders[place], name, status)
        if not stat.S_ISDIR(status.st_mode):
            continue
        with contextlib.ExitStack() as opened:
            parts = []
            for folder in folders[place:]:
                try:
                    part = os.open(name, FOLDER, dir_fd=folder)
                except FileNotFoundError:
                    continue
                except OSError:
                    break  # a file, a link or a whiteout: what lies below is hidden
                opened.callback(os.close, part)
                parts.append(part)
                if is_opaque(part):
                    break
            yield from _walk(parts, prefix + name + b"/")
