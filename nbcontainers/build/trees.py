"""What a COPY --from takes, told from the indexes of layers: no tree is walked and nothing is mounted.

A stage that was made anew but has the same files where a COPY looks leaves what follows in the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import IntegrityError
from ..oci.descriptor import Digest
from ..store.entries import KINDS, OPAQUE, Index
from .wildcards import compiled, has_wildcards

_FOLDER, _LINK, _HARDLINK, _WHITEOUT = map(KINDS.index, ("directory", "symlink", "hardlink", "whiteout"))
_MOST_LINKS = 40


def content_digest(layers: Path, chain: Sequence[Digest], sources: Sequence[str]) -> Digest | None:
    """A digest of all that some sources name in a tree: names, kinds, modes, owners and contents.

    Args:
        layers: ROOT/layers.
        chain: the chain IDs of the tree, from the base up.
        sources: relative paths, perhaps with wildcards.

    None where a layer has no index, or a source is not there: then it has to be looked at in the tree itself.
    """
    try:
        tree = _Tree(Index.from_bytes((layers / one.hex / "index").read_bytes()) for one in chain)
    except (OSError, IntegrityError):
        return None
    total = hashlib.sha256()
    for source in sources:
        names = list(tree.matching(source)) if has_wildcards(source) else [source]
        for name in names:
            real = tree.resolve(name)
            if real is None:
                return None
            total.update(f"{name}\0".encode("utf-8", "surrogateescape"))
            for relative, record in tree.below(real):
                total.update(relative.encode("utf-8", "surrogateescape") + b"\0" + record)
    return Digest("sha256:" + total.hexdigest())


class _Tree:
    """The merged rows of layers: records and links by absolute path."""

    def __init__(self, indexes: Iterator[Index]) -> None:
        self.records: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        for index in indexes:
            self._add(index)

    def _add(self, index: Index) -> None:
        gone, emptied = set[str](), set[str]()
        for path, record in zip(index.paths, index.records, strict=True):
            if record[0] == _WHITEOUT:
                folder, _, name = path.rpartition("/")
                if name == OPAQUE:
                    emptied.add(folder)
                else:
                    gone.add(path)
            elif record[0] != _FOLDER and path in self.records:
                gone.add(path)
        if gone or emptied:
            self.records = {
                path: record for path, record in self.records.items() if not _is_hidden(path, gone, emptied)
            }
        for path, record in zip(index.paths, index.records, strict=True):
            if record[0] != _WHITEOUT:
                self.records[path] = record
        self.links |= index.links

    def resolve(self, name: str) -> str | None:
        """The absolute path with every link followed inside the tree ("" is its root); None where something is missing."""
        done, left, followed = "", [part for part in reversed(name.split("/")) if part not in ("", ".")], 0
        while left:
            part = left.pop()
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            path = f"{done}/{part}"
            record = self.records.get(path)
            if record is None or followed > _MOST_LINKS:
                return None
            if record[0] != _LINK:
                done = path
                continue
            followed += 1
            target = self.links[path]
            done = "" if target.startswith("/") else done
            left += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return done

    def matching(self, pattern: str) -> Iterator[str]:
        """The names that a wildcard matches, in order; its part before the first wildcard may lead through links."""
        parts = pattern.split("/")
        first = next(index for index, part in enumerate(parts) if has_wildcards(part))
        base = self.resolve("/".join(parts[:first]))
        try:
            expression = compiled("/".join(parts[first:]))
        except ValueError:
            return
        if base is not None:
            start = len(base) + 1
            for path in sorted(self.records):
                if path.startswith(f"{base}/") and expression.fullmatch(path, start):
                    yield path[1:]

    def below(self, path: str) -> Iterator[tuple[str, bytes]]:
        """A path and all below it, relative to it, with what stands for each in a digest."""
        if path:
            yield "", self._content(path)
        for other in sorted(self.records):
            if other.startswith(f"{path}/"):
                yield other[len(path) + 1 :], self._content(other)

    def _content(self, path: str) -> bytes:
        record = self.records[path]
        # A hard link's row has the name of its other end, whose content may change without it.
        return record + self.records.get(self.links[path], b"") if record[0] == _HARDLINK else record


def _is_hidden(path: str, gone: set[str], emptied: set[str]) -> bool:
    if path in gone:
        return True
    above = path
    while above := above.rpartition("/")[0]:
        if above in gone or above in emptied:
            return True
    return "" in emptied
