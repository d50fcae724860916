"""The packages of an rpm database of the SQLite kind.

A row of its table ``Packages`` is one header: the number of its entries and of its bytes of data, the entries (tag, type, offset,
count), the data.

Source: rpm's docs/manual/hregions.md and format_header.md.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

_STRING = 6
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
_LENGTHS = struct.Struct(">II")
_ENTRY = struct.Struct(">IIII")
_STEPS = 5_000_000  # of SQLite's machine: a database of 10,000 packages takes a hundredth of them


def packages(database: bytes, log: bytes = b"") -> Iterator[tuple[str, str, str]]:
    """Name, version (``EPOCH:VERSION-RELEASE``) and architecture of each package; ``log`` is the file ``-wal`` beside the database.

    Raises:
        ValueError: it is no such database, or is damaged.

    """
    with tempfile.TemporaryDirectory(prefix="nbcontainers-rpm-") as folder:
        path = Path(folder) / "rpmdb.sqlite"
        path.write_bytes(database)
        if log:
            path.with_name("rpmdb.sqlite-wal").write_bytes(log)
        try:
            with contextlib.closing(sqlite3.connect(path)) as opened:
                yield from _read(opened)
        except sqlite3.Error as error:
            raise ValueError(f"not an rpm database: {error}") from None


def _read(opened: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    # It may have been made to be read by us: no code of its schema runs, and nothing in it takes long.
    opened.execute("PRAGMA trusted_schema=OFF")
    opened.execute("PRAGMA cell_size_check=ON")
    opened.set_progress_handler(lambda: 1, _STEPS)
    if opened.execute("SELECT type FROM sqlite_master WHERE name='Packages'").fetchall() != [("table",)]:
        raise ValueError("not an rpm database: it has no table of packages")
    for (header,) in opened.execute("SELECT blob FROM Packages"):
        name, version, architecture = _header(header)
        if name != "gpg-pubkey":  # a key to verify packages with, kept as if it were one
            yield name, version, architecture


def _header(header: bytes) -> tuple[str, str, str]:
    try:
        count, _ = _LENGTHS.unpack_from(header)
        data = _LENGTHS.size + count * _ENTRY.size
        found: dict[int, str] = {}
        for tag, kind, offset, _ in _ENTRY.iter_unpack(header[_LENGTHS.size : data]):
            if tag == _EPOCH:
                found[tag] = str(struct.unpack_from(">I", header, data + offset)[0])
            elif kind == _STRING and tag in (_NAME, _VERSION, _RELEASE, _ARCHITECTURE):
                found[tag] = header[data + offset : header.index(b"\0", data + offset)].decode(errors="replace")
        epoch = f"{found[_EPOCH]}:" if found.get(_EPOCH, "0") != "0" else ""
        return found[_NAME], f"{epoch}{found[_VERSION]}-{found[_RELEASE]}", found.get(_ARCHITECTURE, "")
    except (struct.error, KeyError, ValueError, TypeError, AttributeError):
        raise ValueError("not an rpm database: a header is damaged") from None
