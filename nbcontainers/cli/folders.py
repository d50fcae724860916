"""The files in which two images differ as a tree that is opened folder by folder.

Nothing is built for the folders that nobody looks at: the paths are sorted, so a folder is a range of them, and what it adds
up to is the difference of two running sums. A hundred thousand files are ready in some tens of milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..results import ChangeKind, FileChange
from .text import printable

Order = Literal["name", "size"]
Folder = tuple[int, int]
"""A folder, as the place of its first file and the length of its path: names may be no text that a message can carry."""

ROOT: Folder = (0, 0)
NAME = 300  # characters of a chain of folders that is one row
_BEYOND = chr(ord("/") + 1)  # sorts just behind everything in a folder


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the tree: a file (``change`` alone), a folder (``folder`` alone), or a folder that changed itself (both).

    ``name`` may hold several folders, where each holds nothing but the next. ``counts`` are files added, modified, deleted.
    """

    name: str
    growth: int
    counts: tuple[int, int, int]
    change: FileChange | None = None
    folder: Folder | None = None


class ChangeTree:
    """Changes by folder; ``counts`` and ``growth`` are those of all."""

    def __init__(self, changes: Sequence[FileChange]) -> None:
        paths = [change.path.strip("/") for change in changes]
        order = sorted(range(len(paths)), key=paths.__getitem__)
        self._paths = [paths[place] for place in order]
        self._changes = [changes[place] for place in order]
        self._lower: list[str] | None = None
        growth, added, deleted = [0], [0], [0]
        grown = more = less = 0
        for change in self._changes:  # a plain loop: it is what a hundred thousand files wait for
            before, after = change.before, change.after
            if before is None:
                more += 1
            else:
                grown -= before.size
            if after is None:
                less += 1
            else:
                grown += after.size
            growth.append(grown)
            added.append(more)
            deleted.append(less)
        self._growth, self._added, self._deleted = growth, added, deleted

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many were added, modified and deleted."""
        return self._counts(0, len(self))

    @property
    def growth(self) -> int:
        """Bytes that all of it adds."""
        return self._growth[-1]

    def matching(self, text: str, kinds: Collection[ChangeKind]) -> ChangeTree:
        """The tree of the files of these kinds whose path holds the text, whatever its case."""
        if self._lower is None:
            self._lower = [path.lower() for path in self._paths]
        wanted = text.strip().lower()
        found = (place for place, path in enumerate(self._lower) if wanted in path) if wanted else range(len(self))
        return ChangeTree([self._changes[place] for place in found if self._changes[place].kind in kinds])

    def rows(self, folder: Folder = ROOT, order: Order = "name") -> list[Row]:
        """What a folder holds: folders first by name, or the largest growth or loss first. IndexError if there is no such folder."""
        first, length = folder
        prefix = self._paths[first][:length] if length else ""
        last = bisect_left(self._paths, prefix[:-1] + _BEYOND) if length else len(self)
        own: dict[str, FileChange] = {}
        folders: dict[str, tuple[int, int]] = {}
        place = first
        while place < last:
            path = self._paths[place]
            slash = path.find("/", length)
            if slash == -1:
                own[path[length:]] = self._changes[place]
                place += 1
            else:
                end = bisect_left(self._paths, path[:slash] + _BEYOND, place, last)
                folders[path[length:slash]] = (place, end)
                place = end
        rows = [self._folder(length, *places, own.pop(name, None)) for name, places in folders.items()]
        rows += [Row(name, change.growth, _counted(change), change) for name, change in own.items()]
        if order == "size":
            return sorted(rows, key=lambda row: (-abs(row.growth), row.name))
        return sorted(rows, key=lambda row: (row.folder is None, row.name))

    def _folder(self, length: int, first: int, last: int, change: FileChange | None) -> Row:
        path = self._paths[first]
        end = path.index("/", length)
        while change is None:
            # a folder that holds one folder and nothing else is told in one line with it
            deeper = path.find("/", end + 1)
            if deeper == -1 or deeper - length > NAME or not self._paths[last - 1].startswith(path[: deeper + 1]):
                break
            end = deeper
        growth = self._growth[last] - self._growth[first] + (change.growth if change else 0)
        counts = self._counts(first, last)
        if change:
            added, modified, deleted = (ours + own for ours, own in zip(counts, _counted(change), strict=True))
            counts = (added, modified, deleted)
        return Row(path[length:end], growth, counts, change, (first, end + 1))

    def _counts(self, first: int, last: int) -> tuple[int, int, int]:
        added, deleted = self._added[last] - self._added[first], self._deleted[last] - self._deleted[first]
        return added, last - first - added - deleted, deleted


def _counted(change: FileChange) -> tuple[int, int, int]:
    return int(change.kind == "added"), int(change.kind == "modified"), int(change.kind == "deleted")


def what(change: FileChange) -> str:
    """What of a file changed, in words: ``mode 0644 → 0755``; nothing where only its bytes did."""
    before, after = change.before, change.after
    told = []
    kinds = kinds_of(change)
    if len(kinds) > 1:
        told.append(" → ".join(kinds))
    elif kinds and kinds[0] not in ("file", "directory"):
        told.append(kinds[0])
    if before and after:
        if before.mode != after.mode:
            told.append(f"mode {before.mode & 0o7777:04o} → {after.mode & 0o7777:04o}")
        if (before.uid, before.gid) != (after.uid, after.gid):
            told.append(f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}")
        if not told:
            told += [word for word in change.what if word != "content"]
    return printable(", ".join(told))


def kinds_of(change: FileChange) -> list[str]:
    """What a path was and is: one kind, or two where that differs."""
    return list(dict.fromkeys(side.kind for side in (change.before, change.after) if side))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a tree that is shown as far as it may: ``hidden`` are files below a folder that is not open, or rows left out."""

    depth: int
    row: Row | None
    hidden: int = 0


def opened(tree: ChangeTree, lines: int) -> Iterator[Line]:
    """The tree from the top, its folders open as far as that takes no more than so many lines; one alone is always opened.

    Where a folder is longer than that, a line without a row says how much is left out.
    """
    rows: dict[Folder, list[Row]] = {ROOT: tree.rows()}
    count = len(rows[ROOT])
    waiting = deque(row.folder for row in rows[ROOT] if row.folder)
    while waiting:
        folder = waiting.popleft()
        inner = tree.rows(folder)
        if count + len(inner) > lines and count > 1:
            continue
        rows[folder] = inner
        count += len(inner)
        waiting.extend(row.folder for row in inner if row.folder)

    def walk(folder: Folder, depth: int) -> Iterator[Line]:
        shown = rows[folder][: max(lines, 1)]
        for row in shown:
            closed = row.folder is not None and row.folder not in rows
            yield Line(depth, row, sum(row.counts) if closed else 0)
            if row.folder in rows and row.folder is not None:
                yield from walk(row.folder, depth + 1)
        if len(shown) < len(rows[folder]):
            yield Line(depth, None, len(rows[folder]) - len(shown))

    return walk(ROOT, 0)


def rolled_up(changes: Sequence[FileChange]) -> list[dict[str, object]]:
    """Every folder in which files differ, sorted by path, with what that adds up to: for programs that read the result."""
    sums: dict[str, list[int]] = {}
    for change in changes:
        counts = (change.growth, *_counted(change))
        folder = change.path.rpartition("/")[0]
        while True:
            held = sums.setdefault(folder or "/", [0, 0, 0, 0])
            for place, number in enumerate(counts):
                held[place] += number
            if not folder:
                break
            folder = folder.rpartition("/")[0]
    names = ("growth", "added", "modified", "deleted")
    return [{"path": path, **dict(zip(names, sums[path], strict=True))} for path in sorted(sums)]
