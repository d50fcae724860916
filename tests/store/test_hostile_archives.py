"""Archives that nobody honest writes: whatever is in them, reading ends, leaks nothing, and touches nothing outside."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbcontainers.errors import NBContainersError
from nbcontainers.linux.idmap import of_host
from nbcontainers.oci.reference import Reference
from nbcontainers.store import compression, tar
from nbcontainers.store.archive import load, save
from nbcontainers.store.attributes import Owners
from nbcontainers.store.layers import Limits
from nbcontainers.store.store import Store
from nbcontainers.store.unarchive import unpack as unarchive
from tests.store.random_images import random_image
from tests.store.trees import archive, hard, link, member, unpack

HONEST = archive(
    member("d", mode=0o755),
    member("d/" + "n" * 150, b"x" * 1500, mtime=1.5, pax_headers={"SCHILY.xattr.user.a": "b"}),
    link("l", "d"),
    hard("h", "d/" + "n" * 150),
    member(".wh.gone", b""),
    member("d/f", b"y"),
)
LIMITS = Limits(bytes=1 << 24, entries=1000)
FIELDS = ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8))  # of a header, those that are numbers

often = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,  # what is new is found on somebody's machine, not on the way of somebody's change
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
words = st.one_of(
    st.integers(-10, 1 << 90).map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"", b"1", b"0", b"-1", b"1.5", b"1,2", b"0,512,512,512", b"9" * 30, b"../up", b"/abs", b"a\0b", b"1e9"]
    ),
    st.binary(max_size=30),
)
keys = st.sampled_from(
    [
        b"path",
        b"linkpath",
        b"size",
        b"uid",
        b"gid",
        b"mtime",
        b"SCHILY.xattr.user.x",
        b"SCHILY.xattr.trusted.overlay.opaque",
    ]
    + [
        b"GNU.sparse." + key
        for key in (b"major", b"minor", b"name", b"realsize", b"size", b"map", b"offset", b"numbytes")
    ]
)


def summed(block: bytes) -> bytes:
    """A header with the checksum that it should have."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def extended(records: list[tuple[bytes, bytes]], body: bytes, kind: bytes = tar.REGULAR) -> bytes:
    """A PAX header of these records, and an entry with a body."""
    text = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = next(n for n in range(rest, rest + 12) if n == rest + len(str(n)))
        text += b"%d %b=%b\n" % (length, key, value)
    first = summed(tar.pack(tar.Header(b"h", b"0", size=len(text)))[:156] + b"x" + tar.pack(tar.Header(b"h"))[157:])
    entry = tar.pack(tar.Header(b"file", size=len(body)))
    entry = summed(entry[:156] + kind + entry[157:])
    return first + text + bytes(-len(text) % 512) + entry + body + bytes(-len(body) % 512 + 1024)


def harmless(data: bytes) -> None:
    """Read an archive in each way that there is: entries or our error, and nothing else is different afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # A folder that its owner may not enter is root's to fill; in an engine whoever unpacks is root in a user namespace.
        errors = (NBContainersError,) if os.geteuid() == 0 else (NBContainersError, PermissionError)
        (folder / "outside").write_text("as it was")
        (folder / "layer").mkdir()  # in which the ledger of owners lies, too
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        with contextlib.suppress(NBContainersError):
            for _, body in tar.read(io.BytesIO(data)):
                for _ in body.segments():
                    pass
        with contextlib.suppress(*errors):
            unpack(data, folder / "layer" / "tree", limits=LIMITS)
        (folder / "files").mkdir()
        target = os.open(folder / "files", os.O_RDONLY)
        try:
            (folder / "outside.tar").write_bytes(data)
            with contextlib.suppress(*errors):
                unarchive(os.fsencode(folder / "outside.tar"), target, Owners())
        finally:
            os.close(target)
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
        assert set(os.listdir(folder)) == {"outside", "outside.tar", "layer", "files"}
        assert (folder / "outside").read_text() == "as it was"


@often
@given(
    st.lists(st.tuples(keys, words), max_size=6),
    st.binary(max_size=1100),
    st.sampled_from([b"0", b"5", b"2", b"S", b"3"]),
)
def test_extended_headers_may_say_anything(records: list[tuple[bytes, bytes]], body: bytes, kind: bytes) -> None:
    """Names, numbers and maps of sparse files (0.0, 0.1, 1.0) that are none, contradict each other or are beyond every bound."""
    harmless(extended(records, body, kind))


@often
@given(st.lists(st.integers(0, 1 << 70), max_size=8), st.binary(max_size=1024), st.integers(0, 1 << 70))
def test_maps_of_sparse_files_may_lie(numbers: list[int], body: bytes, size: int) -> None:
    """Each of GNU's ways to write one, with parts that overlap, have no end, or no content."""
    decimals = [b"%d" % number for number in numbers]
    real = (b"GNU.sparse.realsize", b"%d" % size)
    pairs = zip((b"GNU.sparse.offset", b"GNU.sparse.numbytes") * len(numbers), decimals, strict=False)
    harmless(extended([(b"GNU.sparse.size", b"%d" % size), *pairs], body))
    harmless(extended([real, (b"GNU.sparse.map", b",".join(decimals) or b",")], body))
    lines = b"\n".join([b"%d" % (len(numbers) // 2), *decimals]) + b"\n"
    harmless(extended([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), real], lines.ljust(512, b"\0") + body))
    old = bytearray(tar.pack(tar.Header(b"old", size=len(body))))
    old[156:157], old[257:265] = b"S", b"ustar  \0"
    for at, number in enumerate(numbers):
        old[386 + 12 * at : 398 + 12 * at] = (number | 0x80 << 88).to_bytes(12, "big")
    old[482] = len(body) % 2
    old[483:495] = (size | 0x80 << 88).to_bytes(12, "big")
    harmless(summed(bytes(old)) + body + bytes(-len(body) % 512 + 1024))


@often
@given(
    st.sampled_from(FIELDS),
    st.binary(min_size=12, max_size=12),
    st.sampled_from(b"\x80\xff\x81\xfe0- "),
    st.sampled_from(b"0235x1"),
)
def test_numbers_may_be_of_any_size(field: tuple[int, int], digits: bytes, first: int, kind: int) -> None:
    """In base 256 a size, an owner, a time or a device may be more than any kernel takes, or less than nothing."""
    at, width = field
    block = bytearray(tar.pack(tar.Header(b"file", link=b"there")))
    block[156] = kind
    block[at : at + width] = bytes([first]) + digits[: width - 1]
    harmless(summed(bytes(block)) + bytes(2048))


@often
@given(st.lists(st.tuples(st.integers(0, len(HONEST) - 1), st.integers(0, 255)), max_size=5), st.booleans())
def test_archives_may_be_damaged_anywhere(changes: list[tuple[int, int]], mend: bool) -> None:
    """Bytes changed, with the checksums mended or not."""
    data = bytearray(HONEST)
    for at, value in changes:
        data[at] = value
        start = at - at % 512
        if mend and data[start + 257 : start + 262] == b"ustar":
            data[start : start + 512] = summed(bytes(data[start : start + 512]))
    harmless(bytes(data))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_compressed_layers_may_end_anywhere(compress: Callable[[bytes], bytes]) -> None:
    """Cut or damaged at any byte, a layer is an error or what it was; no thread is left, and no descriptor."""
    whole, threads = compress(HONEST), threading.active_count()
    for at in range(6, len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            with (
                contextlib.suppress(NBContainersError),
                compression.ReadAhead(compression.reader(io.BytesIO(data)), limit=1 << 22) as stream,
            ):
                for _, body in tar.read(stream):
                    for _ in body.segments():
                        pass
    assert threading.active_count() == threads


@often
@given(st.data())
def test_damaged_archives_of_images_leave_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed in an archive of images, or its end cut off: it is loaded as it was, or the store is as it was."""
    with Store(tmp_path / "store", identity=of_host()) as store:
        image = store.images.tag(random_image(store, 1, layers=1), Reference.parse("app"))
        stream = io.BytesIO()
        save(store, [image], stream, form=data.draw(st.sampled_from(["both", "oci", "docker"])))
        store.images.remove("app")
        broken = bytearray(stream.getvalue().rstrip(b"\0"))
        for _ in range(data.draw(st.integers(0, 3))):
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        broken = broken[: data.draw(st.sampled_from([len(broken), len(broken) // 2]))] + bytes(2048)
        descriptors = len(os.listdir("/proc/self/fd"))
        with contextlib.suppress(NBContainersError):
            for loaded in load(store, io.BytesIO(broken)):
                store.images.remove(loaded.name)
        store.images.collect()
        assert (store.images.list(), list(store.content), os.listdir(store.root / "ingest")) == ((), [], [])
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_map_without_an_end_costs_no_time() -> None:
    """A map of a sparse file that goes on and on is given up, or read once: not once for each record."""
    begin = time.process_time()
    version = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")]
    for text in (b"", b"1000000\n" + b"1\n" * 1_999_999):
        with pytest.raises(NBContainersError):
            list(tar.read(io.BytesIO(extended(version, text.ljust(16 << 20, b"\0")))))
    header = extended([(b"k%d" % number, b"v") for number in range(60_000)], b"")[: -512 - 1024]
    with pytest.raises(NBContainersError, match="extended tar header"):
        list(tar.read(io.BytesIO(header * 5)))
    assert time.process_time() - begin < 30
