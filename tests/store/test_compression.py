from __future__ import annotations

import gzip
import hashlib
import io
import random
import threading

import pytest
import zstandard
from isal import igzip_threaded

from nbcontainers.errors import IntegrityError
from nbcontainers.store.compression import Compression, Compressor, Hasher, ReadAhead, detect, reader

SOURCE = random.Random(7)
DATA = b"".join(SOURCE.choice([b"abc" * 50, b"\0" * 333, SOURCE.randbytes(99)]) for _ in range(20_000))
BLOCK = 1 << 20


def compressed(kind: Compression, data: bytes = DATA) -> bytes:
    out = bytearray()
    with Compressor(kind, out.extend) as compressor:
        for at in range(0, len(data), BLOCK):
            compressor.write(memoryview(data)[at : at + BLOCK])
        compressor.finish()
    return bytes(out)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_what_is_compressed_is_read_back(kind: Compression) -> None:
    """Each way is known by its first bytes, and is the same bytes each time."""
    data = compressed(kind)
    assert detect(data[:6]) == kind
    assert compressed(kind) == data
    assert reader(io.BytesIO(data)).read() == DATA


def test_gzip_is_what_other_programs_read_and_has_no_time_in_it() -> None:
    """The same bytes with any number of threads, so with any number of processors."""
    data = compressed("gzip")
    assert gzip.decompress(data) == DATA
    assert data[4:8] == bytes(4)
    for threads in (2, 3):
        out = io.BytesIO()
        with igzip_threaded.open(out, "wb", compresslevel=1, threads=threads) as stream:
            for at in range(0, len(DATA), BLOCK):
                stream.write(DATA[at : at + BLOCK])
        assert out.getvalue() == data


def test_several_members_are_one_stream() -> None:
    """pigz, stargz and estargz write many gzip members, zstd:chunked many frames, some of which are to be skipped."""
    pieces = [DATA[:1000], b"", DATA[1000:]]
    assert reader(io.BytesIO(b"".join(gzip.compress(piece) for piece in pieces))).read() == DATA
    frames = [zstandard.compress(piece) for piece in pieces]
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert reader(io.BytesIO(frames[0] + frames[1] + frames[2] + skipped)).read() == DATA


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_damage_is_found(kind: Compression, harm: str) -> None:
    """A stream that ends too early or has a wrong bit is refused."""
    data = bytearray(compressed(kind))
    if harm == "cut":
        del data[-100:]
    else:
        data[len(data) // 2] ^= 4
    with pytest.raises(IntegrityError):
        reader(io.BytesIO(bytes(data))).read()


@pytest.mark.parametrize("head", [b"BZh91A", b"\xfd7zXZ\0"])
def test_what_no_layer_may_be_is_named(head: bytes) -> None:
    """bzip2 and xz are no layers' compression."""
    with pytest.raises(IntegrityError, match="bzip2|xz"):
        reader(io.BytesIO(head))


def test_reading_ahead_hashes_everything() -> None:
    """The digest is that of all bytes, whatever the reader took of them at once."""
    with ReadAhead(io.BytesIO(DATA)) as stream:
        assert b"".join(iter(stream.read, b"")) == DATA
        assert stream.read() == b""
        assert stream.digest == "sha256:" + hashlib.sha256(DATA).hexdigest()


def test_reading_ahead_stops_with_its_reader() -> None:
    """A reader that has had enough leaves no thread behind, and an error comes through."""
    before = threading.active_count()
    with ReadAhead(io.BytesIO(DATA * 5)) as stream:
        stream.read()
    with ReadAhead(io.BytesIO(DATA), limit=len(DATA) - 1) as stream, pytest.raises(IntegrityError, match="more than"):
        b"".join(iter(stream.read, b""))
    assert threading.active_count() == before


def test_hashing_beside_is_hashing() -> None:
    """Blocks are hashed in their order."""
    with Hasher() as hasher:
        for at in range(0, len(DATA), BLOCK):
            hasher.update(memoryview(DATA)[at : at + BLOCK])
        assert hasher.finish() == "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_a_full_disk_is_heard_of(kind: Compression) -> None:
    """What the sink raises comes out of write or finish, and no thread is left."""
    before = threading.active_count()

    def full(data: bytes) -> None:
        if len(data) > 10:  # gzip's header is written while the compressor is made
            raise OSError(28, "No space left on device")

    def fill() -> None:
        with Compressor(kind, full) as compressor:
            for at in range(0, len(DATA), BLOCK):
                compressor.write(memoryview(DATA)[at : at + BLOCK])
            compressor.finish()

    with pytest.raises(OSError, match="No space"):
        fill()
    assert threading.active_count() == before
