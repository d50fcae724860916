"""A layer's index on disk: one row for each of its entries, in a file that loads 100,000 rows in some 30 milliseconds.

Rows are records of one length, so that two of them are equal if their bytes are, and no row is decoded before it is shown: a
diff of two images compares dictionaries of bytes. Paths are absolute, in the layer's order. A removed path is a row of kind
``whiteout``; a folder that hides what lower layers have in it has a row of the same kind whose path is ``FOLDER/`` and
``OPAQUE``, which is never a file's name.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, cast, get_args

from isal import isal_zlib

from ..errors import IntegrityError
from ..results import Entry, FileKind

OPAQUE = ".wh..wh..opq"

KINDS: tuple[FileKind, ...] = get_args(FileKind)
_DEVICE, _SYMLINK = KINDS.index("device"), KINDS.index("symlink")
_PIECE = 1 << 16  # bytes that are compared at once: a copy of so few takes memory that is there
_MAGIC = b"nbcontainers index 1\n"
_HEAD = struct.Struct("<QQQI")  # rows, bytes of the paths, bytes of the links, CRC-32 of all that follows
RECORD = struct.Struct("<BxHIIQ32s")  # kind, mode, uid, gid, size, sha256 of the content or of the link's target

_crc32: Any = cast("Any", isal_zlib).crc32  # the standard library's, several times as fast

WHITEOUT = KINDS.index("whiteout")
_WHOLE, _MANY = struct.Struct(f"{RECORD.size}s"), struct.Struct(f"{RECORD.size}s" * 256)


@dataclass(frozen=True, slots=True)
class _Packed:
    """The content of an index's file: where in it the paths begin and end, and the records begin; none of it is copied."""

    data: bytes
    rows: int
    paths: tuple[int, int]
    records: int

    def unpacked(self) -> Iterator[bytes]:
        """The records, one after another, most of them by the hundreds: that takes half the time."""
        data = memoryview(self.data)[self.records :]
        many = len(data) - len(data) % _MANY.size
        hundreds = chain.from_iterable(_MANY.iter_unpack(data[:many]))
        return chain(hundreds, map(itemgetter(0), _WHOLE.iter_unpack(data[many:])))

    def same_paths(self, other: _Packed) -> bool:
        """Whether another has the same paths in the same order."""
        (start, end), (at, until) = self.paths, other.paths
        return end - start == until - at and all(
            self.data[start + piece : min(start + piece + _PIECE, end)]
            == other.data[at + piece : min(at + piece + _PIECE, until)]
            for piece in range(0, end - start, _PIECE)
        )


class Index:
    """The rows of a layer: ``paths[i]`` and ``records[i]`` are one entry, and ``index[i]`` is that entry decoded.

    Records compare as bytes: two are equal if kind, mode, owner, size and content (a link's target) are. ``links`` has the
    target of each link by its path. ``removes`` is False if it is known that no row is a whiteout. ``has_owners`` is True once a
    row was added that is another's than root's, or a device: what a host with a single id can only record. One that was read from
    a file makes its rows when they are first asked for.
    """

    def __init__(
        self,
        paths: list[str] | None = None,
        records: list[bytes] | None = None,
        links: dict[str, str] | None = None,
        *,
        removes: bool = True,
        packed: _Packed | None = None,
    ) -> None:
        if packed is None:
            self.paths = [] if paths is None else paths
            self.records = [] if records is None else records
        self.links = {} if links is None else links
        self.removes = removes
        self.has_owners = False
        self._packed = packed

    @functools.cached_property
    def paths(self) -> list[str]:
        """The path of each row."""
        packed = self._packed
        assert packed is not None
        return _decoded(memoryview(packed.data)[slice(*packed.paths)]).split("\0") if packed.rows else []

    @functools.cached_property
    def records(self) -> list[bytes]:
        """The record of each row."""
        assert self._packed is not None
        return list(self._packed.unpacked())

    @functools.cached_property
    def rows(self) -> dict[str, bytes]:
        """The record of each path, the last one where a path has several; not to be changed.

        Of a file each record is made just when it is put here: a third less time than from a list of them.
        """
        return dict(zip(self.paths, self._packed.unpacked() if self._packed else self.records, strict=True))

    def take_rows(self) -> dict[str, bytes]:
        """The same, as the caller's own: of a hundred thousand rows a copy takes as long as they took to be read."""
        rows = self.rows
        del self.rows
        return rows

    def liken(self, other: Index) -> Mapping[str, bytes] | None:
        """The rows that differ from another layer's, None where the two have not the same paths in the same order.

        Two builds of one layer have them. Then what is equal is shared, and no second dictionary has to be filled. Only of what
        was read from files.
        """
        mine, theirs = self._packed, other._packed
        if mine is None or theirs is None or not mine.same_paths(theirs) or len(other.rows) != mine.rows:
            return None
        changed, size, step = dict[str, bytes](), RECORD.size, 16 * RECORD.size
        old, new, apart = theirs.data, mine.data, theirs.records - mine.records
        for block in range(mine.records, len(new), step):
            if new[block : block + step] != old[block + apart : block + apart + step]:
                for start in range(block, min(block + step, len(new)), size):
                    record = new[start : start + size]
                    if record != old[start + apart : start + apart + size]:
                        changed[other.paths[(start - mine.records) // size]] = record
        self.paths, self.rows = other.paths, {**other.rows, **changed}
        return changed

    def add(self, entry: Entry) -> None:
        """Append a row."""
        digest = bytes.fromhex(entry.digest.removeprefix("sha256:")) if entry.digest else b""
        kind, link = KINDS.index(entry.kind), _encoded(entry.link)
        self.put(_encoded(entry.path[1:]), kind, entry.mode, entry.uid, entry.gid, entry.size, digest, link)

    def put(
        self,
        path: bytes,
        kind: int,
        mode: int = 0,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        digest: bytes = b"",
        link: bytes = b"",
    ) -> None:
        """Append a row by its bare values: a relative path, a kind by its place in ``KINDS``, the 32 bytes of a digest."""
        name = "/" + path.decode("utf-8", "surrogateescape")
        if link:
            self.links[name] = _decoded(link)
            digest = hashlib.sha256(link).digest()
        if uid or gid or kind == _DEVICE:
            self.has_owners = True
        self.paths.append(name)
        self.records.append(RECORD.pack(kind, mode & 0o7777, uid, gid, size, digest))

    def __len__(self) -> int:
        return self._packed.rows if self._packed else len(self.paths)

    @property
    def size(self) -> int:
        """The bytes that its rows say they hold, together, and those of the targets of symbolic links, as Docker counts."""
        links = (self.links[path] for path, row in zip(self.paths, self.records, strict=True) if row[0] == _SYMLINK)
        held: int = sum(row[4] for row in RECORD.iter_unpack(b"".join(self.records)))
        return held + sum(map(len, map(_encoded, links)))

    def __getitem__(self, row: int) -> Entry:
        return decode(self.paths[row], self.records[row], self.links.get(self.paths[row], ""))

    def __iter__(self) -> Iterator[Entry]:
        return (self[row] for row in range(len(self.paths)))

    def to_bytes(self) -> bytes:
        """The file's content, with a checksum: a file that was torn is told from one that was not."""
        paths = _encoded("\0".join(self.paths))
        links = _encoded("\0".join(part for pair in self.links.items() for part in pair))
        body = b"".join((paths, links, *self.records))
        return _MAGIC + _HEAD.pack(len(self.paths), len(paths), len(links), _crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Read what ``to_bytes`` wrote: IntegrityError if it is torn or of another version."""
        start = len(_MAGIC) + _HEAD.size
        if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
            raise IntegrityError("a layer's index that is none", hint="unpack the layer again")
        rows, paths, links, checksum = _HEAD.unpack_from(data, len(_MAGIC))
        end = start + paths + links
        if len(data) != end + rows * RECORD.size or _crc32(memoryview(data)[start:]) != checksum:
            raise IntegrityError("a layer's index that is torn", hint="unpack the layer again")
        words = _decoded(data[start + paths : end]).split("\0") if links else []
        return cls(
            links=dict(zip(words[::2], words[1::2], strict=True)),
            removes=WHITEOUT in data[end :: RECORD.size],
            packed=_Packed(data, rows, (start, start + paths), end),
        )


def decode(path: str, record: bytes, link: str = "") -> Entry:
    """The entry of a path and its record."""
    kind, mode, uid, gid, size, digest = RECORD.unpack(record)
    return Entry(
        path=path,
        kind=KINDS[kind],
        size=size,
        mode=mode,
        uid=uid,
        gid=gid,
        digest=f"sha256:{digest.hex()}" if KINDS[kind] == "file" else "",
        link=link,
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(data: bytes | memoryview) -> str:
    return str(data, "utf-8", "surrogateescape")
