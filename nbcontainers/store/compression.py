"""How layers are compressed: gzip and zstd, both ways, on threads beside the caller's; known by their first bytes.

gzip is isal's level 1: its bytes are the same on every x86-64-v2 processor (level 3's are not), whatever the number of
threads, and it is as fast as the disk. isal, zstandard and hashlib all let other threads run while they work.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

import zstandard
from isal import igzip, igzip_threaded, isal_zlib

from ..errors import IntegrityError
from ..oci.descriptor import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

Compression = Literal["gzip", "zstd", "none"]

MEDIA_TYPES: dict[Compression, str] = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "none": LAYER_TAR}
BLOCK = 1 << 20

_igzip: Any = igzip  # isal's stubs leave these untyped
_igzip_threaded: Any = igzip_threaded
_GzipError: type[Exception] = cast("Any", isal_zlib).error
_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_FOREIGN = ((b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x5d\0\0", "lzma"), (b"LZIP", "lzip"))
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 3
_FEED = 4096  # bytes given to zstd at once: even hostile ones become no more than 128 MiB
_WAIT = 0.05  # seconds between two looks at whether the other side is gone


def detect(head: bytes) -> Compression:
    """How a stream that begins with these bytes (six are enough) is compressed; media types are not always true.

    Raises:
        IntegrityError: in a way that no layer may be, as bzip2 and xz.

    """
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise IntegrityError(f"a layer compressed with {name}", hint="OCI layers are gzip, zstd or not compressed")
    if head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:  # a skippable frame, with which zstd may begin
        return "zstd"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "none")


def reader(stream: BinaryIO) -> BinaryIO:
    """The stream uncompressed, whichever of the three ways it is compressed; several members one after another are one.

    The stream must be seekable (a file). Reading raises IntegrityError where its bytes are damaged or end too early.
    """
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    match detect(head):
        case "gzip":
            source: BinaryIO = _igzip.IGzipFile(fileobj=stream, mode="rb")
        case "zstd":
            source = cast("BinaryIO", Frames(stream, zstd_frame))
        case _:
            return stream
    return cast("BinaryIO", Checked(source, "a layer"))


def zstd_frame() -> Any:
    """What uncompresses one frame of zstd."""
    return zstandard.ZstdDecompressor().decompressobj()


class Frames(io.RawIOBase):
    """Frames uncompressed one after another; unlike zstd's own reader it does not take a cut frame for an end.

    ``begin`` makes what uncompresses one frame: zstd's, or the decompressors of bz2 and lzma.
    """

    def __init__(self, stream: BinaryIO, begin: Callable[[], Any]) -> None:
        self._stream = stream
        self._begin = begin
        self._frame = begin()
        self._rest = b""
        self._inside = False

    def readable(self) -> bool:
        """True: it is for reading only."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, ``size`` or somewhat more of them; nothing at the end."""
        pieces, length = [], 0
        while size < 0 or length < size:
            data = self._rest or self._stream.read(_FEED)
            self._rest = b""
            if not data:
                if self._inside:
                    raise EOFError("a frame without its end")
                break
            pieces.append(self._frame.decompress(data))
            length += len(pieces[-1])
            self._inside = not self._frame.eof
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame = self._begin()
        return b"".join(pieces)


class Checked(io.RawIOBase):
    """A decompressor whose errors are ours; ``what`` is what it reads."""

    def __init__(self, source: BinaryIO, what: str) -> None:
        self._source = source
        self._what = what

    def readable(self) -> bool:
        """True: it is for reading only."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes: IntegrityError where there can be none."""
        try:
            return self._source.read(size)
        except (EOFError, OSError, _GzipError, zstandard.ZstdError, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the data's: gzip.BadGzipFile is an OSError without a number
            raise IntegrityError(
                f"{self._what} that cannot be uncompressed: {error}", hint="it is damaged: get it again"
            ) from error


class ReadAhead:
    """Reads a stream on a thread of its own, hashing it on the way; used as a context manager and read as a stream.

    ``digest`` is the sha256 of everything, valid once ``read`` has answered with nothing. ``limit`` bounds the bytes that
    ``read`` gives: IntegrityError beyond.
    """

    def __init__(self, stream: BinaryIO, *, limit: int | None = None) -> None:
        self._stream = stream
        self._limit = limit
        self._blocks: queue.Queue[bytes | BaseException] = queue.Queue(4)
        self._hash = hashlib.sha256()
        self._done = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._blocks.get_nowait()
        self._thread.join()

    def _run(self) -> None:
        total = 0
        try:
            while block := self._stream.read(BLOCK):
                total += len(block)
                if self._limit is not None and total > self._limit:
                    raise IntegrityError(
                        f"a layer of more than {self._limit} bytes",
                        hint="if it is meant to be so large, raise NBCONTAINERS_LAYER_LIMIT",
                    )
                self._hash.update(block)
                if not self._give(block):
                    return
        except BaseException as error:  # whatever it is, the reader is the one to hear of it
            self._give(error)
        else:
            self._give(b"")

    def _give(self, item: bytes | BaseException) -> bool:
        while not self._done.is_set():
            with contextlib.suppress(queue.Full):
                self._blocks.put(item, timeout=_WAIT)
                return True
        return False

    def read(self, size: int = -1) -> bytes:
        """The next block, of any length; empty at the end, and from then on."""
        if self._ended:
            return b""
        item = self._blocks.get()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = not item
        return item

    @property
    def digest(self) -> str:
        """``sha256:`` and the digits of what was read."""
        return "sha256:" + self._hash.hexdigest()


class Hasher:
    """Hashes blocks on a thread of its own, which the second of them starts; used as a context manager."""

    def __init__(self) -> None:
        self._first: memoryview | None = None
        self._blocks: queue.Queue[memoryview | None] = queue.Queue(4)
        self._hash = hashlib.sha256()
        self._thread = threading.Thread(target=self._run, name="hasher", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)

    def update(self, block: memoryview) -> None:
        """Take a block, which must not change from now on."""
        if self._first is None:
            self._first = block
            return
        if self._thread.ident is None:
            self._thread.start()
            self._blocks.put(self._first)
        self._blocks.put(block)

    def finish(self) -> str:
        """``sha256:`` and the digits of all blocks; no more may come."""
        self.__exit__()
        if self._thread.ident is None:
            self._hash.update(self._first or b"")
        return "sha256:" + self._hash.hexdigest()


class Compressor:
    """Compresses blocks of ``BLOCK`` bytes (the last may be shorter) into a sink; used as a context manager, ended by ``finish``.

    The same bytes in give the same bytes out: blocks are cut where the caller cuts them, so it must always cut them there.
    The second block starts the thread that gzip is made on: most layers of a build have one, and threads cost more than that.
    """

    def __init__(self, kind: Compression, sink: Callable[[bytes], object]) -> None:
        self._out = cast("BinaryIO", _Sink(sink))
        self._open: BinaryIO | None = None
        self._first: memoryview | None = None
        self._write: Callable[[memoryview], object] | None = None
        match kind:
            case "gzip":
                pass  # as soon as it is known whether there is more than one block
            case "zstd":
                self._open = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).stream_writer(
                    self._out, closefd=False
                )
                self._write = self._open.write
            case _:
                self._write = self._out.write

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:  # left by an error, which is the one to be heard
            stream, self._open = self._open, None
            with contextlib.suppress(Exception):
                stream.close()

    def write(self, block: memoryview) -> None:
        """Compress a block, which must not change from now on."""
        if self._write is not None:
            self._write(block)
        elif self._first is None:
            self._first = block
        else:
            stream = _igzip_threaded.open(self._out, "wb", compresslevel=_GZIP_LEVEL, threads=1)
            self._open, self._write = stream, stream.raw.write
            stream.raw.write(self._first)
            stream.raw.write(block)

    def finish(self) -> None:
        """Write what is left, or raise what the sink raised."""
        if self._write is None:
            self._out.write(_igzip.compress(self._first or b"", _GZIP_LEVEL, mtime=0))
        if self._open is not None:
            stream, self._open = self._open, None
            stream.close()


class _Sink(io.RawIOBase):
    """A function as a file to write to."""

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # more than bytes is never given
        self._sink(data)
        return len(data)
