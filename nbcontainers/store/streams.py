"""Archives as they come, from files and pipes that cannot be sought in: uncompressed on the way, known by their first bytes."""

from __future__ import annotations

import bz2
import io
import lzma
from typing import IO, Any, BinaryIO, cast

from isal import igzip

from .compression import Checked, Frames, zstd_frame

_igzip: Any = igzip  # isal's stubs leave it untyped
_HEAD = 6


class _Again(io.RawIOBase):
    """A stream whose first bytes were read, and are read once more."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            data, self._head = self._head + self._rest.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def plain(stream: IO[bytes]) -> BinaryIO:
    """The stream uncompressed, if it is gzip, zstd, bzip2 or xz, else as it is; it need not be seekable.

    Reading raises IntegrityError where the compressed bytes are damaged or end too early.
    """
    head = b""
    while len(head) < _HEAD and (more := stream.read(_HEAD - len(head))):
        head += more
    again = _Again(head, stream)
    if head.startswith(b"\x1f\x8b"):
        source: Any = _igzip.IGzipFile(fileobj=again, mode="rb")
    elif head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        source = Frames(cast("BinaryIO", again), zstd_frame)
    elif head.startswith(b"BZh"):
        source = Frames(cast("BinaryIO", again), bz2.BZ2Decompressor)
    elif head.startswith(b"\xfd7zXZ\0"):
        source = Frames(cast("BinaryIO", again), lzma.LZMADecompressor)
    else:
        return cast("BinaryIO", again)
    return cast("BinaryIO", Checked(source, "an archive"))
