"""Files of more than 8 GiB, which the octal digits of a tar header cannot say; sparse and made up, so that they cost little."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.errors import IntegrityError
from nbcontainers.store import tar
from nbcontainers.store.entries import Index
from nbcontainers.store.layers import Limits, apply
from tests.store.trees import unpack

SIZE = (8 << 30) + 3
END = b"end"
# The sha256 of 8 GiB of zeros and END, which take seconds to hash.
DIGEST = "sha256:c3a0fcc6029c6247aa4aa1213e1a5ad8d42715f64dc206897ba1f39925f718f9"
_ZEROS = bytes(1 << 20)


class Made:
    """A stream of pieces that are made as they are asked for: zeros are always the same ones."""

    def __init__(self, *pieces: bytes | int) -> None:
        self._pieces = self._cut(pieces)

    @staticmethod
    def _cut(pieces: tuple[bytes | int, ...]) -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            for _ in range(piece >> 20):
                yield _ZEROS
            yield _ZEROS[: piece & 0xFFFFF]

    def read(self, size: int = -1, /) -> bytes:
        """The next piece, however much was asked for."""
        return next((piece for piece in self._pieces if piece), b"")


def headers(kind: int) -> bytes:
    """The header of such a file as tarfile writes it: GNU's base 256, or a PAX record."""
    entry = tarfile.TarInfo("large")
    entry.size = SIZE
    return entry.tobuf(kind)


AFTER = tarfile.TarInfo("after").tobuf() + bytes(1024)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_size_beyond_octal_is_read(kind: int) -> None:
    """All of the content is passed, and what comes behind it is found."""
    stream = Made(headers(kind), SIZE - len(END), END, bytes(-SIZE % 512), AFTER)
    assert [(header.name, header.size) for header, _ in tar.read(stream)] == [(b"large", SIZE), (b"after", 0)]
    stream = Made(headers(kind), SIZE - len(END), END, bytes(-SIZE % 512), AFTER)
    _, body = next(tar.read(stream))
    last, total = b"", 0
    for offset, piece in body.segments():
        assert offset == total
        last, total = bytes(piece[-3:]), total + len(piece)
    assert (total, last) == (SIZE, END)


def test_a_size_beyond_octal_is_written(tmp_path: Path) -> None:
    """With a PAX record, which tarfile and our own reader understand; the content is as long as it says."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(SIZE - len(END))
        file.seek(0, os.SEEK_END)
        file.write(END)
    head, last, total = b"", b"", 0

    def emit(block: memoryview) -> None:
        nonlocal head, last, total
        head, last, total = head or bytes(block[:4096]), bytes(block[-4096:]), total + len(block)

    writer = tar.Writer(emit)
    with (tmp_path / "large").open("rb", buffering=0) as file:
        writer.add(tar.Header(b"large", size=SIZE), file.fileno())
    writer.add(tar.Header(b"after"))
    writer.close()
    assert total == 1024 + 512 + SIZE + -SIZE % 512 + 512 + 1024
    assert last[-1536 - 512 :].startswith(END)
    with tarfile.open(fileobj=io.BytesIO(head), mode="r|") as opened:
        entry = opened.next()
        assert entry is not None
        assert (entry.name, entry.size, entry.pax_headers["size"]) == ("large", SIZE, str(SIZE))
    assert next(tar.read(io.BytesIO(head)))[0].size == SIZE


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar: install tar")
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_file_beyond_octal_is_unpacked(tmp_path: Path, form: str) -> None:
    """As GNU tar writes it: it has its size, its end and its digest, and takes no room."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(SIZE - len(END))
        file.seek(0, os.SEEK_END)
        file.write(END)
    words = ["tar", "-C", str(tmp_path), "--sparse", f"--format={form}", "-cf", str(tmp_path / "x.tar"), "large"]
    subprocess.run(words, check=True)
    (tmp_path / "large").unlink()
    layer = (tmp_path / "x.tar").read_bytes()
    assert len(layer) < 1 << 20
    if form == "gnu":  # to hash the holes takes seconds, so once
        ((header, body),) = [(header, list(body.segments())) for header, body in tar.read(io.BytesIO(layer))]
        assert (header.size, body[-1][0] + len(body[-1][1])) == (SIZE, SIZE)
        return
    _, (entry,) = unpack(layer, tmp_path / "tree")
    with (tmp_path / "tree/large").open("rb") as file:
        assert os.fstat(file.fileno()).st_size == SIZE
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20
        file.seek(-len(END), os.SEEK_END)
        assert file.read() == END
    assert (entry.size, entry.digest) == (SIZE, DIGEST)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_file_beyond_the_bound_is_refused_before_it_is_read(tmp_path: Path, kind: int) -> None:
    """What counts is what the header says: nothing of it is written."""
    (tmp_path / "tree").mkdir()
    folder = os.open(tmp_path / "tree", os.O_RDONLY)
    try:
        with pytest.raises(IntegrityError, match="more than .* bytes") as caught:
            apply(Made(headers(kind), SIZE), folder, index=Index(), limits=Limits(bytes=SIZE - 1))  # type: ignore[arg-type]
    finally:
        os.close(folder)
    assert "NBCONTAINERS_LAYER_LIMIT" in caught.value.hint
    assert not (tmp_path / "tree/large").exists()
