from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcontainers.errors import IntegrityError
from nbcontainers.oci.descriptor import Digest
from nbcontainers.results import Entry
from nbcontainers.store.entries import OPAQUE, Index

ROWS = (
    Entry(path="/", kind="directory", mode=0o755),
    Entry(path="/f", kind="file", size=9 << 30, mode=0o4755, uid=4_000_000_000, gid=7, digest=Digest.of(b"x")),
    Entry(path="/l", kind="symlink", mode=0o777, link="/f"),
    Entry(path="/h", kind="hardlink", link="/f"),
    Entry(path="/d/" + OPAQUE, kind="whiteout"),
    Entry(path="/not utf-8 \udcff", kind="fifo"),
)


def index(*rows: Entry) -> Index:
    made = Index()
    for row in rows:
        made.add(row)
    return made


@pytest.mark.parametrize("rows", [(), ROWS[:1], ROWS])
def test_an_index_is_read_as_it_was_written(rows: tuple[Entry, ...]) -> None:
    """Every field of every kind, names that are no text too; its size counts files, and symbolic links by their targets."""
    made = index(*rows)
    assert tuple(Index.from_bytes(made.to_bytes())) == rows
    size = sum(row.size for row in rows) + sum(len(row.link) for row in rows if row.kind == "symlink")
    assert (len(made), made.size) == (len(rows), size)


def test_records_differ_if_anything_but_the_path_does() -> None:
    """What two images have different is seen without decoding a row."""
    variants = [
        Entry(path="/f", kind="file", digest=Digest.of(b"1"), size=1),
        Entry(path="/f", kind="file", digest=Digest.of(b"2"), size=1),
        Entry(path="/f", kind="file", digest=Digest.of(b"1"), size=1, mode=1),
        Entry(path="/f", kind="file", digest=Digest.of(b"1"), size=1, uid=1),
        Entry(path="/f", kind="symlink", link="a"),
        Entry(path="/f", kind="symlink", link="b"),
        Entry(path="/f", kind="hardlink", link="b"),
    ]
    assert len(set(index(*variants).records)) == len(variants)
    assert index(Entry(path="/a", kind="fifo")).records == index(Entry(path="/b", kind="fifo")).records


@settings(database=None, deadline=None)
@given(st.integers(0, 600), st.integers(1, 255))
def test_a_torn_index_is_refused(at: int, change: int) -> None:
    """A file that was cut or changed anywhere is an error, never other rows."""
    data = bytearray(index(*ROWS).to_bytes())
    at %= len(data)
    for broken in (bytes(data[:at]), bytes(data[:at]) + bytes([data[at] ^ change]) + bytes(data[at + 1 :])):
        with pytest.raises(IntegrityError):
            Index.from_bytes(broken)
