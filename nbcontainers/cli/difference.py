"""In what two images differ, as a terminal shows it and as JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..results import FileChange, ImageDiff, PackageChange, SettingChange
from . import format as form
from .folders import ChangeTree, Row, opened, rolled_up, what
from .text import ending, plural, printable, shortened, signed

MARKS = {"added": "A", "modified": "C", "deleted": "D"}  # as ``docker diff`` marks them
LINES = 50  # lines of the tree of files that show unasked
PACKAGES = 60
VALUES = 40  # lines of settings
_PACKAGE_MARKS = {"added": "A", "deleted": "D", "upgraded": "U", "downgraded": "d"}
_WORDS = {"added": "added", "modified": "changed", "deleted": "removed"}


def text(diff: ImageDiff, *, everything: bool = False, lines: int = LINES, width: int = 120) -> str:
    """Files by folder, packages, settings; with ``everything`` each file, package and value on a line of its own, none cut off.

    The folders are open as far as ``lines`` allow, each with what it adds up to.
    """
    parts = [_head(diff)]
    if diff.files and everything:
        rows = [[MARKS[change.kind], signed(change.growth), _path(change)] for change in diff.files]
        parts.append(form.table(("", "GROWTH", "FILES"), rows, right=(1,)))
    elif diff.files:
        parts.append("\n".join(_tree(diff.files, lines, width)))
    if diff.packages:
        parts.append("\n".join(_packages(diff.packages, None if everything else PACKAGES, width)))
    if diff.settings:
        parts.append("\n".join(_settings(diff.settings, None if everything else width)))
    if diff.unread:
        parts.append("\n".join(f"note: {printable(sentence)}" for sentence in diff.unread))
    return "\n\n".join(parts)


def _head(diff: ImageDiff) -> str:
    lines = [f"{printable(diff.before)} -> {printable(diff.after)}"]
    if not (diff.files or diff.settings or diff.packages):
        return "\n".join([*lines, "no difference"])
    files = [f"{diff.count(kind):,} {word}" for kind, word in _WORDS.items() if diff.count(kind)]  # type: ignore[arg-type]
    if files:
        lines.append(f"files      {', '.join(files)}, {signed(sum(change.growth for change in diff.files))}")
    kinds = Counter(package.kind for package in diff.packages)
    packages = [f"{kinds[kind]:,} {_WORDS.get(kind, kind)}" for kind in _PACKAGE_MARKS if kinds[kind]]  # type: ignore[index]
    if packages:
        lines.append(f"packages   {', '.join(packages)}")
    if diff.settings:
        lines.append(f"settings   {len(diff.settings):,} changed")
    lines.append(f"layers     {diff.shared_layers:,} shared")
    return "\n".join(lines)


def _tree(files: Sequence[FileChange], lines: int, width: int) -> Iterator[str]:
    yield f"{'GROWTH':>10}   FILES"
    hidden = False
    for line in opened(ChangeTree(files), lines):
        indent, row = "  " * line.depth, line.row
        hidden = hidden or line.hidden > 0
        if row is None:
            yield f"{'':10}   {indent}… {plural(line.hidden, 'line')} more"
        else:
            mark = MARKS[row.change.kind] if row.change else " "
            yield f"{mark} {signed(row.growth):>8}   {indent}{_row(row, width - 13 - len(indent))}"
    if hidden:
        yield f"{'':10}   (--all lists every file)"


def _row(row: Row, room: int) -> str:
    if row.folder is None:
        said = what(row.change) if row.change else ""
        name = printable(row.name)
        return f"{shortened(name, max(16, room - len(said) - 4))}  ({said})" if said else shortened(name, max(16, room))
    counts = " ".join(f"{sign}{count:,}" for sign, count in zip("+~-", row.counts, strict=True) if count)
    return f"{ending(printable(row.name), max(16, room - len(counts) - 3))}/  {counts}"


def _path(change: FileChange) -> str:
    said = what(change)
    return printable(change.path) + (f"  ({said})" if said else "")


def _packages(packages: Sequence[PackageChange], limit: int | None, width: int) -> Iterator[str]:
    shown = packages if limit is None else packages[:limit]
    rows = []
    for package in shown:
        where = f"  in {printable(package.where)}" if package.where else ""
        versions = [printable(version) for version in (package.before, package.after) if version is not None]
        rows.append(
            [_PACKAGE_MARKS[package.kind], package.packaging, printable(package.name), " -> ".join(versions) + where]
        )
    yield from (_cut(line, width, limit) for line in form.table(("", "PACKAGES", "", ""), rows).split("\n"))
    if len(shown) < len(packages):
        yield f"… and {plural(len(packages) - len(shown), 'package')} more (--all lists them)"


def _cut(line: str, width: int, limit: int | None) -> str:
    return line if limit is None or len(line) <= width else line[: width - 1] + "…"


def _settings(settings: Sequence[SettingChange], width: int | None) -> Iterator[str]:
    yield "SETTINGS"
    for setting in settings:
        yield f"  {printable(setting.key)}"
        for mark, value in (("-", setting.before), ("+", setting.after)):
            if value is None:
                continue
            lines = [printable(line) for line in value.split("\n")]
            if width is not None:
                lines = [shortened(line, width - 6) for line in lines[:VALUES]]
            yield f"    {mark} {lines[0]}"
            yield from (f"      {line}" for line in lines[1:])


def json_of(diff: ImageDiff) -> dict[str, Any]:
    """The whole result as JSON, with the folders that its files add up to."""
    return {**dataclasses.asdict(diff), "folders": rolled_up(diff.files)}
