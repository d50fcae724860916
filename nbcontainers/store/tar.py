"""Tar archives, read and written fast: ustar with PAX records; GNU's long names and sparse files are read.

Headers are packed and parsed by hand and bodies move in large blocks: ``tarfile`` costs four times as much. The writer is
deterministic: the same entries in the same order are the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Protocol

from ..errors import IntegrityError
from . import sparse
from .tarheader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    RECORD,
    REGULAR,
    SYMLINK,
    Header,
    bound,
    extend,
    number,
    pack,
    parse,
    pax_records,
    verify,
)

__all__ = [
    "BLOCK_DEVICE",
    "CHARACTER",
    "DIRECTORY",
    "FIFO",
    "HARDLINK",
    "REGULAR",
    "SYMLINK",
    "Body",
    "Header",
    "Writer",
    "holes",
    "read",
]

CHUNK = 1 << 20  # what is read, hashed and compressed at once
_META_LIMIT = 1 << 20  # of one extended header; a path has at most 4096 bytes and an attribute 65536
_ZEROS = bytes(RECORD)


class Readable(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none at the end."""


class Body:
    """The content of the entry that was read last: to be taken, once and in part or whole, before the next entry is."""

    __slots__ = ("_parts", "_source", "left", "size")

    def __init__(self, source: _Source, size: int, stored: int, parts: tuple[tuple[int, int], ...] | None) -> None:
        self._source = source
        self._parts = parts
        self.size = size
        self.left = stored

    def whole(self) -> memoryview | None:
        """The content in one piece if it lies so in memory and is no large file, else None and nothing is taken."""
        if self._parts is not None or self.left != self.size or self.size > CHUNK:
            return None
        found = self._source.slice(self.size)
        if found is not None:
            self.left = 0
        return found

    def segments(self) -> Iterator[tuple[int, memoryview]]:
        """The content as (offset, bytes), in order; what lies between is a hole. A view lasts until the next one is asked for."""
        for start, length in self._parts if self._parts is not None else ((0, self.left),):
            offset, end = start, start + length
            while offset < end:
                piece = self._source.piece(min(end - offset, CHUNK))
                self.left -= len(piece)
                yield offset, piece
                offset += len(piece)

    def chunks(self) -> Iterator[memoryview]:
        """The content from its first byte to its last, holes as zeros."""
        at = 0
        for offset, piece in self.segments():
            yield from holes(offset - at)
            yield piece
            at = offset + len(piece)
        yield from holes(self.size - at)

    def read(self) -> bytes:
        """All of the content."""
        return b"".join(self.chunks())


def holes(length: int) -> Iterator[memoryview]:
    """So many zeros, in pieces."""
    zeros = memoryview(bytes(min(length, CHUNK)))
    while length > 0:
        yield zeros[:length]
        length -= min(length, CHUNK)


class _Source:
    """A stream as headers (exact lengths) and bodies (views of what was read, with no copy)."""

    __slots__ = ("_at", "_data", "_stream", "_total", "_view")

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._data = b""
        self._view = memoryview(b"")
        self._at = self._total = 0

    def _fill(self) -> bool:
        self._data = self._stream.read(CHUNK)
        self._view = memoryview(self._data)
        self._at = 0
        self._total += len(self._data)
        return bool(self._data)

    def record(self) -> bytes:
        """The next 512 bytes; empty at the end of the stream."""
        if self._at == len(self._data) and not self._fill():
            return b""
        return self.exactly(RECORD)

    def exactly(self, length: int) -> bytes:
        end = self._at + length
        if end <= len(self._data):
            data = self._data[self._at : end]
            self._at = end
            return data
        found = bytearray()
        while len(found) < length:
            found += self.piece(length - len(found))
        return bytes(found)

    def slice(self, length: int) -> memoryview | None:
        end = self._at + length
        if end > len(self._data):
            return None
        found = self._view[self._at : end]
        self._at = end
        return found

    def piece(self, most: int) -> memoryview:
        if self._at == len(self._data) and not self._fill():
            if self._total < RECORD:
                raise IntegrityError(
                    f"no tar archive: it has {self._total} bytes", hint="see that it is the right file"
                )
            raise IntegrityError("a tar archive that ends inside an entry", hint="it is cut short: fetch it again")
        found = self._view[self._at : self._at + most]
        self._at += len(found)
        return found

    def skip(self, length: int) -> None:
        if self._at + length <= len(self._data):
            self._at += length
            return
        while length > 0:
            length -= len(self.piece(length))


def read(stream: Readable) -> Iterator[tuple[Header, Body]]:
    """The entries of an uncompressed archive, each with its content.

    The stream may answer with fewer bytes than asked for, and is read no further than the block in which the archive ends. An
    archive may end without its two empty records, as it may for every other reader. Global PAX records are let be, as
    Go's reader (so Docker, containerd and podman) does; so are volume labels. A name may be anything: the caller confines it.

    Raises:
        IntegrityError: the archive is cut short, or a header is not one.

    """
    source = _Source(stream)
    extended: dict[bytes, bytes] = {}
    listed: list[tuple[bytes, bytes]] = []
    is_sparse, told = False, 0
    while block := source.record():
        if block[0] == 0 and block == _ZEROS:
            return
        verify(block)
        kind = block[156:157]
        if kind in b"xLKgV":
            size = number(block[124:136])
            told += max(size, 0)  # of many headers before one entry, too
            if not 0 <= size <= _META_LIMIT or told > 2 * _META_LIMIT:
                raise IntegrityError(f"an extended tar header of {max(size, told)} bytes")
            data = source.exactly(size)
            source.skip(-size % RECORD)
            if kind == b"x":
                listed = pax_records(data)
                extended.update(listed)
                is_sparse = any(key.startswith(b"GNU.sparse.") for key, _ in listed)
            elif kind in b"LK":
                extended[b"path" if kind == b"L" else b"linkpath"] = data.rstrip(b"\0")
            continue
        header = parse(block)
        if extended:
            extend(header, extended)
        if kind in b"\0007":  # v7's regular file, or a folder by its name; and the contiguous file
            header.type = DIRECTORY if kind == b"\0" and header.name.endswith(b"/") else REGULAR
        stored = header.size if header.type in b"0S" else 0
        parts, used = None, 0
        if kind == b"S":
            parts, header.size = sparse.old(block, source.record)
            header.type = REGULAR
        elif is_sparse:
            parts, header.size, header.name, used = sparse.pax(extended, listed, header.name, source.record, stored)
        if header.type not in b"0123456":
            raise IntegrityError(f"a tar entry of unknown type {header.type!r}: {os.fsdecode(header.name)!r}")
        if header.type != REGULAR:
            header.size = 0
        if header.name.endswith(b"/"):
            header.name = header.name.rstrip(b"/") or b"/"
        if parts is not None:
            sparse.check(parts, header.size, stored - used)
        bound(header)
        body = Body(source, header.size, stored - used, parts)
        extended, listed, is_sparse, told = {}, [], False, 0
        yield header, body
        source.skip(body.left + -stored % RECORD)


def _extents(file: int, size: int) -> Iterator[tuple[int, bool]]:
    """Where each run of an open file's data, or of none, ends, and whether it is a hole; where data begins the file stands.

    A hole is as slow to read as a disk. Only a large file that takes less room than its size is looked at. Source: lseek(2).
    """
    if size <= CHUNK or os.fstat(file).st_blocks * 512 >= size:
        yield size, False
        return
    at = 0
    while at < size:
        try:
            data = os.lseek(file, at, os.SEEK_DATA)
            hole = os.lseek(file, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                raise
            data = hole = size
        if data > at:
            yield min(data, size), True
        if data < size:
            os.lseek(file, data, os.SEEK_SET)
            yield min(hole, size), False
        at = hole


class Writer:
    """An archive being written: ``emit`` is called with blocks of 1 MiB (the last one is shorter), which are then its own.

    The bytes depend only on what is added, not on how a descriptor answers.
    """

    def __init__(self, emit: Callable[[memoryview], object]) -> None:
        self._emit = emit
        # The kernel gives this page by page as it is filled: most layers of a build need few.
        self._block = memoryview(mmap.mmap(-1, CHUNK))
        self._at = 0

    def add(self, entry: Header, body: int | bytes | None = None, *, digest: bool = False) -> bytes:
        """Write an entry and, for a regular file, ``entry.size`` bytes of content; ``digest`` asks for its sha256, else it is empty.

        Args:
            entry: names are relative, with no trailing slash; a hard link has no body.
            body: bytes, or a descriptor at its first byte. A file that has shrunk meanwhile is filled up with zeros.
            digest: True to hash the content.

        """
        self._put(pack(entry))
        if entry.type != REGULAR:
            return b""
        content = hashlib.sha256() if digest else None
        if isinstance(body, int):
            at = 0
            for end, is_hole in _extents(body, entry.size):
                while at < end:
                    here = self._block[self._at : self._at + end - at]
                    # What is not read stays zero, as a block begins: a hole, and what a file that has shrunk lacks.
                    count = len(here) if is_hole else os.readv(body, [here]) or len(here)
                    if content:
                        content.update(here[:count])
                    at += count
                    self._at += count
                    if self._at == CHUNK:
                        self._flush()
        elif body:
            self._put(body)
            if content:
                content.update(body)
        self._put(_ZEROS[: -entry.size % RECORD])
        return content.digest() if content else b""

    def close(self) -> None:
        """End the archive with two empty records; the stream behind ``emit`` is the caller's."""
        self._put(_ZEROS * 2)
        if self._at:
            self._emit(self._block[: self._at])
            self._at = 0

    def _put(self, data: bytes) -> None:
        end = self._at + len(data)
        while end >= CHUNK:
            room = CHUNK - self._at
            self._block[self._at :] = data[:room]
            self._flush()
            data = data[room:]
            end = len(data)
        self._block[self._at : end] = data
        self._at = end

    def _flush(self) -> None:
        self._emit(self._block)
        self._block = memoryview(bytearray(CHUNK))
        self._at = 0
