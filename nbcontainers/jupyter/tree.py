"""The tree of a difference as the widget takes it: folder by folder, in messages that are never large."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..cli.folders import ROOT, ChangeTree, Folder, Order, Row, kinds_of, what
from ..cli.text import printable

PAGE = 400  # rows of one folder in one message
NAME = 300  # characters of a row's name


def page(tree: ChangeTree, folder: Folder, order: Order, start: int = 0) -> dict[str, Any]:
    """A folder's rows from ``start`` on as the widget takes them, and how many there are."""
    rows = tree.rows(folder, order)
    return {"total": len(rows), "from": start, "rows": [written(row) for row in rows[start : start + PAGE]]}


def written(row: Row) -> list[Any]:
    """A row as JSON: name, kind, what of it changed, growth, counts, the sizes before and after, the folder's key."""
    change = row.change
    sizes = [None if side is None else side.size for side in (change.before, change.after)] if change else None
    if change and "directory" in kinds_of(change):
        sizes = None
    return [
        printable(row.name)[:NAME],
        change.kind if change else None,
        what(change) if change else "",
        row.growth,
        row.counts if row.folder else None,
        sizes,
        key(row.folder) if row.folder else None,
    ]


def key(folder: Folder) -> str:
    """A folder as a word that a message can carry."""
    return f"{folder[0]}:{folder[1]}"


def folder_of(word: str) -> Folder:
    """The folder that ``key`` gave the word for."""
    first, _, length = word.partition(":")
    return int(first), int(length)


def opening(tree: ChangeTree, order: Order, *, visible: int, ahead: int = 1200, size: int = 500_000) -> dict[str, Any]:
    """What a view of the tree begins with: its sums, and the folders that are open or may be opened without asking.

    Folders are opened from the top while no more than ``visible`` rows show (one alone always is), and sent ahead while there
    are no more than ``ahead`` rows and about ``size`` bytes of them.
    """
    folders: dict[str, dict[str, Any]] = {}
    expanded: list[str] = []
    waiting = deque([ROOT])
    shown = sent = weight = 0
    while waiting and sent < ahead and weight < size:
        folder = waiting.popleft()
        held: dict[str, Any] = page(tree, folder, order) if len(tree) else {"total": 0, "from": 0, "rows": []}
        folders[key(folder)] = held
        sent += len(held["rows"])
        weight += sum(len(row[0]) * 3 + 80 for row in held["rows"])
        alone = shown == 1  # a single folder at the top says nothing until it is open
        if folder == ROOT or alone or (shown + held["total"] <= visible and len(expanded) + 2 == len(folders)):
            shown += held["total"]
            if folder != ROOT:
                expanded.append(key(folder))
        waiting.extend(folder_of(row[6]) for row in held["rows"] if row[6])
    return {"folders": folders, "expanded": expanded, "counts": tree.counts, "growth": tree.growth, "files": len(tree)}
