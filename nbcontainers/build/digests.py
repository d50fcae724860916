"""Digests of a context's files, kept between builds: a file that has not changed is not read again.

They stand in one file for each context, a record for each folder: its names, a stamp for each that says what it looked like, and
what it held. A folder whose names and stamps are those of its record is compared as a whole, by bytes; only where it is not, each
entry is looked at by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
import zlib
from collections.abc import Sequence
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ..linux import smallfiles
from ..oci.descriptor import Digest

Entry = tuple[str, os.stat_result]  # a name in a folder, with what lstat says of it
# A change within one tick of the clock that stamps files (10 ms on the slowest kernels) leaves both stamps as they were.
_SETTLED_NS = 50_000_000
_MOST_CONTEXTS = 100
_MAGIC = b"nbcontainers digests 2\n"
_HEAD = struct.Struct("<QI")  # folders, CRC-32 of all that follows
_LENGTHS = struct.Struct("<QQQ")  # bytes of the folder's path and of its names, and how many these are
_STAMP = struct.Struct("<IQqqQ")
_STAMPED = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
_UNSETTLED = bytes(_STAMP.size)  # no file looks so: it is read again the next time
_NOTHING = bytes(32)  # what a folder or a device holds
_Seen = dict[str, tuple[bytes, bytes]]  # a name: its stamp and the sha256 of what it holds


class _Folder(NamedTuple):
    """A record: names that end with NUL, stamps, the sha256 of what each holds, and that of all of it."""

    names: bytes
    stamps: bytes
    contents: bytes
    digest: bytes

    def entries(self) -> _Seen:
        size = _STAMP.size
        return {
            name: (self.stamps[at * size : (at + 1) * size], self.contents[at * 32 : (at + 1) * 32])
            for at, name in enumerate(os.fsdecode(self.names).split("\0")[:-1])
        }


class FileDigests:
    """The digests of the files below one folder, in one small file; several builds at once may lose records, never mix them up.

    A record counts only while mode, size, both times and the inode are what they were.

    Args:
        kept: the folder that has a file for each context; None to keep nothing.
        root: the context.

    """

    def __init__(self, kept: Path | None, root: Path) -> None:
        self._root = os.fspath(root)
        self._file = kept / Digest.of(os.fsencode(root.absolute())).hex[:32] if kept else None
        self._folders: dict[str, _Folder] = {}
        self._same: set[str] = set()  # folders that are as their records have them
        self._seen: dict[str, _Seen] = {}  # of folders whose entries are looked at by themselves, what these hold
        self._before: dict[str, _Seen] = {}  # what the records of those have
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError, struct.error):
                self._folders = _read(self._file.read_bytes())

    def of(self, name: str, status: os.stat_result) -> str:
        """The sha256 of a regular file's bytes or a link's target, ``sha256:`` and its digits.

        Args:
            name: its name in the context, under which the record is kept.
            status: what lstat said of it.

        """
        folder, slash, base = name.rpartition("/")
        return "sha256:" + self._one(folder + slash, base, status, _STAMP.pack(*_STAMPED(status))).hex()

    def of_folder(self, prefix: str, found: Sequence[Entry]) -> bytes:
        """The sha256 of entries of one folder: their names, modes, and what files and links hold.

        Args:
            prefix: the folder's path in the context with a slash behind it, or "".
            found: what is meant of it, in the order of names.

        """
        names, statuses = zip(*found, strict=True)
        joined = os.fsencode("\0".join(names)) + b"\0"
        stamps = b"".join(starmap(_STAMP.pack, map(_STAMPED, statuses)))
        known = self._folders.get(prefix)
        if known is not None and known.stamps == stamps and known.names == joined:
            self._same.add(prefix)
            return known.digest
        size = _STAMP.size
        contents = b"".join(
            self._one(prefix, name, status, stamps[at * size : (at + 1) * size])
            for at, (name, status) in enumerate(found)
        )
        return _digest(joined, stamps, contents)

    def save(self) -> None:
        """Write the records if some are new; nothing is lost where that cannot be done."""
        new = {
            prefix: _folder((self._before[prefix] if prefix in self._same else {}) | seen)
            for prefix, seen in self._seen.items()
            if seen  # the first file may have been one that cannot be read
        }
        if self._file is None or all(self._folders.get(prefix) == folder for prefix, folder in new.items()):
            return
        self._folders |= new
        folder = self._file.parent
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not brought to the disk: what a power cut leaves of it is whole, or is seen not to be by its checksum.
            smallfiles.replace(str(self._file), _written(self._folders))
            if len(os.listdir(folder)) > _MOST_CONTEXTS:
                for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-_MOST_CONTEXTS]:
                    file.unlink(missing_ok=True)

    def _one(self, prefix: str, name: str, status: os.stat_result, stamp: bytes) -> bytes:
        """The sha256 of what one entry holds: of the record if it is as it was, else of its bytes, for a record to come."""
        seen = self._seen.get(prefix)
        if seen is None:
            known = self._folders.get(prefix)
            self._before[prefix] = known.entries() if known else {}
            seen = self._seen[prefix] = {}
        found = seen.get(name) or self._before[prefix].get(name)
        if found is None or found[0] != stamp:
            found = self._looked_at(prefix + name, status, stamp)
        seen[name] = found
        return found[1]

    def _looked_at(self, name: str, status: os.stat_result, stamp: bytes) -> tuple[bytes, bytes]:
        path = f"{self._root}/{name}"
        if stat.S_ISLNK(status.st_mode):
            content, after = hashlib.sha256(os.fsencode(os.readlink(path))).digest(), os.lstat(path)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                content, after = hashlib.file_digest(file, "sha256").digest(), os.fstat(file.fileno())
        else:
            return stamp, _NOTHING
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _SETTLED_NS
        return (stamp if settled and stamp == _STAMP.pack(*_STAMPED(after)) else _UNSETTLED), content


def _digest(names: bytes, stamps: bytes, contents: bytes) -> bytes:
    """Of a stamp the mode alone, its first field; the length tells names from what follows."""
    modes = b"".join(stamps[at : at + 4] for at in range(0, len(stamps), _STAMP.size))
    return hashlib.sha256(b"".join((len(names).to_bytes(8), names, modes, contents))).digest()


def _folder(seen: _Seen) -> _Folder:
    names = os.fsencode("".join(f"{name}\0" for name in seen))
    stamps, contents = (b"".join(part) for part in zip(*seen.values(), strict=True))
    return _Folder(names, stamps, contents, _digest(names, stamps, contents))


def _written(folders: dict[str, _Folder]) -> bytes:
    parts: list[bytes] = []
    for prefix, folder in folders.items():
        path = os.fsencode(prefix)
        parts += (_LENGTHS.pack(len(path), len(folder.names), len(folder.contents) // 32), path, *folder)
    body = b"".join(parts)
    return _MAGIC + _HEAD.pack(len(folders), zlib.crc32(body)) + body


def _read(data: bytes) -> dict[str, _Folder]:
    """What was written: ValueError if it is torn, or something else."""
    at = len(_MAGIC) + _HEAD.size
    count, checksum = _HEAD.unpack_from(data, len(_MAGIC))
    if not data.startswith(_MAGIC) or zlib.crc32(memoryview(data)[at:]) != checksum:
        raise ValueError("no digests")
    folders: dict[str, _Folder] = {}
    for _ in range(count):
        path, names, entries = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        prefix = os.fsdecode(data[at : at + path])
        at += path
        parts: list[bytes] = []
        for length in (names, entries * _STAMP.size, entries * 32, 32):
            parts.append(data[at : at + length])
            at += length
        folders[prefix] = _Folder(*parts)
    return folders
