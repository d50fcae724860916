"""File trees out of layer indexes: a record of bytes for each path, for an image has a hundred thousand of them.

A record is what a layer's index has (see ``store.entries``): equal records are equal entries, and only what is shown is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from ..results import Entry
from ..store.entries import KINDS, OPAQUE, RECORD, Index, decode

FILE: Final = KINDS.index("file")
DIRECTORY: Final = KINDS.index("directory")
HARDLINK: Final = KINDS.index("hardlink")
WHITEOUT: Final = KINDS.index("whiteout")


@dataclass(frozen=True, slots=True)
class Markers:
    """What a layer takes away: ``whiteouts`` are paths that are gone, ``opaque`` folders of which nothing below shows."""

    whiteouts: frozenset[str]
    opaque: frozenset[str]


_NO_MARKERS = Markers(frozenset(), frozenset())


@dataclass(slots=True)
class Tree:
    """The files of a stack of layers: each path's record, and the targets of links."""

    records: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Tree:
        """A tree that can change by itself."""
        return Tree(dict(self.records), dict(self.links))

    def entry(self, path: str) -> Entry | None:
        """The entry of a path as front ends show it, None where there is none."""
        record = self.records.get(path)
        return None if record is None else shown(path, record, self.links)

    def apply(self, layer: Index, touched: set[str] | None = None, rows: Iterable[str] | None = None) -> None:
        """Put a layer on top; the paths that it has, or of these only ``rows``, and those that it removes are added to ``touched``.

        A hard link is added in any case: its record is made of what its target has here.
        """
        present, markers = split(layer)
        if touched is not None:
            touched.update(present if rows is None else rows, layer.links)
        if self.records:
            for gone in removed_by(present, markers, self.records).values():
                if touched is not None:
                    touched.update(gone)
                for name in gone:
                    del self.records[name]
        linked = [path for path in layer.links if path in present]
        if len(self.records) < len(present):
            below = {path: row for path, row in self.records.items() if path not in present}
            self.records = layer.take_rows() if markers is _NO_MARKERS else present
            self.records.update(below)
        else:
            self.records.update(present)
        self._link(layer.links, linked)

    def _link(self, links: Mapping[str, str], paths: Iterable[str]) -> None:
        """Note the targets of links, and give those of the paths that are hard links what their targets have."""
        self.links.update(links)
        for path in paths:
            if self.records[path][0] == HARDLINK:
                self.records[path] = self._of_target(self.records[path], links[path])

    def _of_target(self, record: bytes, target: str) -> bytes:
        """The record of a hard link with its target's mode, owner and content, so that it differs when that does; no bytes of its own."""
        same = self.records.get("/" + target.lstrip("/"))
        if same is None:
            return record
        _, mode, uid, gid, _, digest = RECORD.unpack(same)
        return RECORD.pack(HARDLINK, mode, uid, gid, 0, digest)


def shown(path: str, record: bytes, links: Mapping[str, str]) -> Entry:
    """A record decoded."""
    return decode(path, record, "" if record[0] in (FILE, DIRECTORY) else links.get(path, ""))


def sizes(records: Mapping[str, bytes]) -> dict[str, int]:
    """The bytes that each path which is no folder holds: those of a regular file; a further name of one has none of its own."""
    rows = RECORD.iter_unpack(b"".join(records.values()))
    return {
        path: row[4] if row[0] == FILE else 0 for path, row in zip(records, rows, strict=True) if row[0] != DIRECTORY
    }


def kinds(records: Iterable[bytes]) -> bytes:
    """The kind of each record, as a byte: to be searched at the speed of memory."""
    return bytes(map(itemgetter(0), records))


def has_whiteouts(layer: Index) -> bool:
    """Whether a layer takes something away."""
    return layer.removes and WHITEOUT in kinds(layer.records)


def split(layer: Index) -> tuple[dict[str, bytes], Markers]:
    """A layer's paths that are there, with their records, and its markers for those that are not."""
    if not has_whiteouts(layer):
        return layer.rows, _NO_MARKERS
    present: dict[str, bytes] = {}
    marks: list[str] = []
    for path, record in zip(
        layer.paths, layer.records, strict=True
    ):  # a path may be removed and made anew in one layer
        if record[0] == WHITEOUT:
            marks.append(path)
        else:
            present[path] = record
    opaque = {path.removesuffix(OPAQUE).rstrip("/") for path in marks if path.endswith(f"/{OPAQUE}")}
    return present, Markers(frozenset(path for path in marks if not path.endswith(f"/{OPAQUE}")), frozenset(opaque))


def removed_by(present: Mapping[str, bytes], markers: Markers, tree: Mapping[str, bytes]) -> dict[str, list[str]]:
    """The paths of the tree below that a layer removes, by the path in the layer that removes them.

    A whiteout removes its path and all below it; an opaque folder, or something else in the place of a folder, all below only.
    The root of the tree is the empty path.
    """
    gone: dict[str, list[str]] = {path: [path] for path in sorted(markers.whiteouts) if path in tree}
    folders = {path for path in (*gone, *markers.opaque) if path in tree and tree[path][0] == DIRECTORY}
    # in the order of the shorter one: a set's would cost ten times as much
    common = (
        [path for path in present if path in tree]
        if len(present) < len(tree)
        else [path for path in tree if path in present]
    )
    folders.update(path for path in common if tree[path][0] == DIRECTORY != present[path][0])
    if "" in markers.opaque:
        folders.add("")
    for name, folder in _inside(tree, folders) if folders else ():
        if name not in markers.whiteouts:
            gone.setdefault(folder, []).append(name)
    return gone


def _inside(names: Iterable[str], folders: set[str]) -> Iterator[tuple[str, str]]:
    """Those of the names that lie in one of the folders, each with the innermost of them.

    The way up is gone once for all names of a folder, so one pass serves any number of folders.
    """
    known: dict[str, str | None] = {}
    for name in names:
        parent = name.rpartition("/")[0]
        if parent not in known:
            known[parent] = _nearest(parent, folders)
        found = known[parent]
        if found is not None and name != "/":
            yield name, found


def _nearest(path: str, folders: set[str]) -> str | None:
    while path not in folders:
        if not path:
            return None
        path = path.rpartition("/")[0]
    return path
