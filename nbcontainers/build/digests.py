"""Digests of a context's files, kept between builds: a file that has not changed is not read again.

They stand in one file for each context: the names, then a record for each, which says what the file looked like and what it held.
Records are compared as bytes, and read all at once: 100,000 of them in some 30 milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
import zlib
from operator import itemgetter
from pathlib import Path

from ..errors import HostError
from ..oci.descriptor import Digest
from ..store.durable import replace

# A change within one tick of the clock that stamps files (10 ms on the slowest kernels) leaves both stamps as they were.
_SETTLED_NS = 50_000_000
_MOST_CONTEXTS = 100
_MAGIC = b"nbcontainers digests 1\n"
_HEAD = struct.Struct("<QQI")  # records, bytes of the names, CRC-32 of all that follows
_STAMP = struct.Struct("<QqqQ")  # size, both times, inode
_RECORD = struct.Struct("64s")  # the stamp and the sha256


class FileDigests:
    """The digests of the files below one folder, in one small file; several builds at once may lose records, never mix them up.

    A record counts only while size, both times and the inode are what they were.

    Args:
        kept: the folder that has a file for each context; None to keep nothing.
        root: the context.

    """

    def __init__(self, kept: Path | None, root: Path) -> None:
        self._root = os.fspath(root)
        self._file = kept / Digest.of(os.fsencode(root.absolute())).hex[:32] if kept else None
        self._records: dict[str, bytes] = {}
        self._changed = False
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError, struct.error):
                self._records = _read(self._file.read_bytes())

    def of(self, name: str, status: os.stat_result) -> str:
        """The sha256 of a regular file's bytes, ``sha256:`` and its digits.

        Args:
            name: its name in the context, under which the record is kept.
            status: what lstat said of it.

        """
        stamp = _STAMP.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        record = self._records.get(name, b"")
        if record.startswith(stamp):
            return "sha256:" + record[32:].hex()
        with open(f"{self._root}/{name}", "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            after = os.fstat(file.fileno())
        unchanged = stamp == _STAMP.pack(after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino)
        if unchanged and max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _SETTLED_NS:
            self._records[name] = stamp + digest.digest()
            self._changed = True
        return "sha256:" + digest.hexdigest()

    def save(self) -> None:
        """Write the records if some are new; nothing is lost where that cannot be done."""
        if self._file is None or not self._changed:
            return
        folder = self._file.parent
        with contextlib.suppress(OSError, HostError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file, _written(self._records), temporary=folder)
            self._changed = False
            files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
            for file in files[:-_MOST_CONTEXTS]:
                file.unlink(missing_ok=True)


def _written(records: dict[str, bytes]) -> bytes:
    names = os.fsencode("\0".join(records))
    body = b"".join((names, *records.values()))
    return _MAGIC + _HEAD.pack(len(records), len(names), zlib.crc32(body)) + body


def _read(data: bytes) -> dict[str, bytes]:
    """What was written: ValueError if it is torn, or something else."""
    start = len(_MAGIC) + _HEAD.size
    count, length, checksum = _HEAD.unpack_from(data, len(_MAGIC))
    body = memoryview(data)[start:]
    if not data.startswith(_MAGIC) or len(body) != length + count * _RECORD.size or zlib.crc32(body) != checksum:
        raise ValueError("no digests")
    names = os.fsdecode(bytes(body[:length])).split("\0") if count else []
    return dict(zip(names, map(itemgetter(0), _RECORD.iter_unpack(body[length:])), strict=True))
