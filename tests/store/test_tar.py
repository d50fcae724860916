"""The tar reader and writer, with tarfile and GNU tar as oracles."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbcontainers.errors import IntegrityError
from nbcontainers.store import tar
from tests.store.trees import archive, hard, link, member

LONG = "/".join(["a" * 90] * 4)
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


class Trickle(io.BytesIO):
    """A stream that answers with few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 700) if size and size > 0 else 700)


def entries(data: bytes, stream: type[io.BytesIO] = io.BytesIO) -> list[tuple[tar.Header, bytes]]:
    return [(header, body.read()) for header, body in tar.read(stream(data))]


def written(*headers: tuple[tar.Header, bytes]) -> bytes:
    out = bytearray()
    writer = tar.Writer(out.extend)
    for header, body in headers:
        writer.add(header, body)
    writer.close()
    return bytes(out)


@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
@pytest.mark.parametrize("name", FORMATS)
def test_what_tarfile_writes_is_read(name: str, stream: type[io.BytesIO]) -> None:
    """Every format, names of any length where the format has them, types, owners and times."""
    long = LONG if name != "ustar" else "b" * 90 + "/" + "a" * 90
    members = [
        member("folder", mode=0o1777),
        member("folder/file", b"x" * 5000, mode=0o4755, uid=1000, gid=100),
        member(long, b"long"),
        link("link", long if name != "ustar" else "there"),
        hard("hard", "folder/file"),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=17),
        member("pipe", type=tarfile.FIFOTYPE),
        member("grüße", "ä".encode()),
    ]
    data = archive(*members, kind=FORMATS[name])
    found = entries(data, stream)
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        for (header, body), entry in zip(found, opened, strict=True):
            assert os.fsdecode(header.name) == entry.name
            assert header.type == entry.type
            assert (header.mode, header.uid, header.gid, header.size) == (entry.mode, entry.uid, entry.gid, entry.size)
            assert header.mtime_ns == entry.mtime * 10**9
            assert os.fsdecode(header.link) == entry.linkname
            assert (header.major, header.minor) == (entry.devmajor, entry.devminor)
            assert body == (opened.extractfile(entry).read() if entry.isreg() else b"")  # type: ignore[union-attr]


def test_numbers_beyond_octal_are_read_and_written() -> None:
    """Sizes over 8 GiB, ids over 2 millions, times before 1970, after 2242 and between two seconds."""
    big = tar.Header(b"big", size=9 << 30, uid=4_000_000_000, gid=3_000_000, mtime_ns=-1)
    for mtime in (-1, -(10**9), 1, 1_700_000_000_123_456_789, 10**10 * 10**9):
        for entry in (tar.Header(b"f", mtime_ns=mtime, uid=2_097_151), tar.Header(b"f", mtime_ns=mtime, uid=2_097_152)):
            assert [header for header, _ in tar.read(io.BytesIO(written((entry, b""))))] == [entry]
    out = bytearray()
    writer = tar.Writer(out.extend)
    writer._put(tar.pack(big))
    writer.close()
    header, _ = next(tar.read(io.BytesIO(out)))
    assert header == big
    with tarfile.open(fileobj=io.BytesIO(bytes(out))) as opened:
        entry = opened.next()
        assert entry is not None
        assert (entry.size, entry.uid, entry.gid, entry.mtime) == (9 << 30, 4_000_000_000, 3_000_000, -1e-9)
    base256 = archive(member("f", b"", uid=3_000_000, mtime=-5), kind=tarfile.GNU_FORMAT)
    (found,) = entries(base256)
    assert (found[0].uid, found[0].mtime_ns) == (3_000_000, -5 * 10**9)


def test_a_number_may_fill_its_field() -> None:
    """Some writers use the last byte of a field for a digit, as star does for sizes."""
    data = bytearray(archive(member("f", b"")))
    data[136:148] = b"14000000000" + b"7"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert entries(bytes(data))[0][0].mtime_ns == 0o140000000007 * 10**9


def test_extended_attributes_pass_through() -> None:
    """Values of any bytes, in SCHILY's records, as Go and GNU tar write them."""
    header = tar.Header(b"f", xattrs={b"user.a": bytes(range(256)), b"security.capability": b"\1\0\0\2" + bytes(16)})
    (found,) = entries(written((header, b"")))
    assert found[0] == header


def test_the_same_entries_are_the_same_bytes(tmp_path: Path) -> None:
    """A body from a file that answers in pieces, and one from memory, make the same archive; blocks are cut alike."""
    data = random.Random(1).randbytes(3 << 20)
    (tmp_path / "f").write_bytes(data)
    blocks: list[bytes] = []
    writer = tar.Writer(lambda block: blocks.append(bytes(block)))
    with (tmp_path / "f").open("rb", buffering=0) as file:
        digest = writer.add(tar.Header(b"f", size=len(data)), file.fileno(), digest=True)
    writer.close()
    assert b"".join(blocks) == written((tar.Header(b"f", size=len(data)), data))
    assert {len(block) for block in blocks[:-1]} == {1 << 20}
    assert digest == hashlib.sha256(data).digest()


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    """The archive stays well formed when a file becomes shorter while it is read."""
    (tmp_path / "f").write_bytes(b"abc")
    out = bytearray()
    writer = tar.Writer(out.extend)
    with (tmp_path / "f").open("rb", buffering=0) as file:
        writer.add(tar.Header(b"f", size=1000), file.fileno())
    writer.add(tar.Header(b"g"))
    writer.close()
    assert [(header.name, body) for header, body in entries(bytes(out))] == [(b"f", b"abc" + bytes(997)), (b"g", b"")]


def test_tarfile_reads_what_is_written() -> None:
    """Names, links and times of any length and precision come out as they went in."""
    headers = [
        tar.Header(LONG.encode(), tar.DIRECTORY, 0o755, 1, 2, mtime_ns=1_700_000_000_500_000_000),
        tar.Header(b"l" * 150, tar.SYMLINK, 0o777, link=LONG.encode()),
        tar.Header(b"p" * 120 + b"/" + b"n" * 99),
        tar.Header("grüße".encode(), mtime_ns=5 * 10**9),
        tar.Header(b"null", tar.CHARACTER, major=1, minor=3),
    ]
    with tarfile.open(fileobj=io.BytesIO(written(*((header, b"") for header in headers)))) as opened:
        for header, entry in zip(headers, opened, strict=True):
            assert (os.fsencode(entry.name), entry.type, entry.mode) == (header.name, header.type, header.mode)
            assert os.fsencode(entry.linkname) == header.link
            assert round(entry.mtime * 10**9) == header.mtime_ns
            assert (entry.devmajor, entry.devminor) == (header.major, header.minor)


@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_read(tmp_path: Path, form: str) -> None:
    """GNU's four ways to write a file with holes give the same file."""
    if shutil.which("tar") is None:
        pytest.skip("GNU tar is not installed")
    with (tmp_path / "holes").open("wb") as file:
        for place in range(40):
            file.seek(place * 300_000)
            file.write(b"%d" % place * 5000)
        file.truncate(13_000_000)
    words = ["--format=gnu"] if form == "gnu" else ["--format=pax", f"--sparse-version={form}"]
    data = subprocess.run(["tar", "-cSf", "-", *words, "holes"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert len(data) < 2_000_000
    ((header, body),) = entries(data)
    assert header.name == b"holes"
    assert body == (tmp_path / "holes").read_bytes()


def test_a_body_is_read_in_part_or_not_at_all() -> None:
    """The next entry comes whatever was taken of the one before."""
    data = archive(member("a", b"a" * 3000), member("b", b"b" * 3_000_000), member("c", b"c"))
    names = []
    for number, (header, body) in enumerate(tar.read(io.BytesIO(data))):
        names.append(header.name)
        if number == 1:
            assert bytes(next(body.segments())[1][:3]) == b"bbb"
    assert names == [b"a", b"b", b"c"]


GOOD = archive(member("folder"), member("folder/" + "x" * 150, b"y" * 1000), link("l", "t"))


@pytest.mark.parametrize("length", [1, 100, 512, 700, 1100, 1600, 2500, 3000])
def test_an_archive_that_is_cut_short_is_refused(length: int) -> None:
    """A header, an extended header or a body without its end is an error, wherever it is cut."""
    if length == 512:  # between two entries: as every other reader, we take that for an end
        assert len(entries(GOOD[:length])) == 1
        return
    with pytest.raises(IntegrityError):
        entries(GOOD[:length])


@pytest.mark.parametrize(
    "data",
    [b"not a tar archive at all".ljust(1024, b"."), GOOD[:100] + b"\1" + GOOD[101:], tar.pack(tar.Header(b"f", b"Z"))],
    ids=["text", "checksum", "type"],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    """Damage is an error of ours, not one of Python's."""
    with pytest.raises(IntegrityError):
        entries(data)


def test_global_headers_and_volume_labels_are_passed_over() -> None:
    """What they say is not for any file, as in Go's reader."""
    record = b"10 path=a\n"
    data = tar.pack(tar.Header(b"g", b"g", size=len(record)))
    data = data[:124] + b"%011o\0" % len(record) + data[136:]
    data = data[:148] + b" " * 8 + data[156:]
    data = data[:148] + b"%06o\0 " % sum(data) + data[156:]
    whole = data + record.ljust(512, b"\0") + tar.pack(tar.Header(b"label", b"V")) + tar.pack(tar.Header(b"f"))
    assert [header.name for header, _ in entries(whole)] == [b"f"]


@pytest.mark.parametrize(
    "record",
    [
        b"99 path=x\n",
        b"x path=a\n",
        b"10 path=a",
        b"11 size=-5\n",
        b"10 mtime=x\n",
        b"10 path=a\0\n",
        b"6 =ab\n",
        b"0 a=b\n",
    ],
)
def test_extended_headers_that_lie_are_refused(record: bytes) -> None:
    """Lengths that are none, numbers that are none, names with a zero byte."""
    data = tar.pack(tar.Header(b"h", b"x", size=len(record))) + record + bytes(-len(record) % 512)
    with pytest.raises(IntegrityError):
        entries(data + tar.pack(tar.Header(b"f")))


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_broken_archives_never_do_worse_than_an_error(data: st.DataObject) -> None:
    """Bytes changed anywhere: the reader ends, with entries or with our error."""
    broken = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        for header, body in tar.read(io.BytesIO(bytes(broken))):
            if header.size < 1 << 20:
                body.read()
    except IntegrityError:
        pass


names = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and not name.endswith(b"/"))


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.lists(
        st.builds(
            tar.Header,
            name=names,
            type=st.just(tar.REGULAR),
            mode=st.integers(0, 0o7777),
            uid=st.integers(0, 2**32 - 2),
            gid=st.integers(0, 2**32 - 2),
            size=st.just(0),
            mtime_ns=st.integers(-(2**62), 2**63),
            xattrs=st.dictionaries(
                st.binary(min_size=1, max_size=20).filter(lambda key: not set(key) & {0, 61, 10}),
                st.binary(),
                max_size=3,
            ),
        ),
        max_size=5,
    )
)
def test_headers_survive_the_way_through_an_archive(headers: list[tar.Header]) -> None:
    """Whatever an entry says is read back."""
    assert [header for header, _ in entries(written(*((header, b"") for header in headers)))] == headers


def test_holes_are_not_read_and_come_out_as_zeros(tmp_path: Path) -> None:
    """Wherever they are, and though the file is shorter than was said: the bytes are those of the same file without holes."""
    size = 9 << 20
    for number, pieces in enumerate(((0, 5 << 20), (3 << 20,), (size - 1,), (), (0, 1 << 20, 4096 * 600))):
        place = tmp_path / str(number)
        with place.open("wb") as file:
            file.truncate(size)
            for at in pieces:
                file.seek(at)
                file.write(b"x" * 5000 if at + 5000 <= size else b"y")
        for told in (size, size + 70_000, size - 70_000):
            blocks: list[bytes] = []
            writer = tar.Writer(lambda block, blocks=blocks: blocks.append(bytes(block)))  # type: ignore[misc]
            with place.open("rb", buffering=0) as file:
                digest = writer.add(tar.Header(b"f", size=told), file.fileno(), digest=True)
            writer.close()
            data = place.read_bytes()[:told].ljust(told, b"\0")
            assert b"".join(blocks) == written((tar.Header(b"f", size=told), data))
            assert digest == hashlib.sha256(data).digest()
