"""The SQLite index: which manifests the store holds, by image ID. It is never the truth.

Tags name manifests, but an image ID names a configuration, and an image without a tag has no other name: without an index,
finding either means reading every small blob. And it remembers how large a compressed blob is where that had to be counted.
That is all it is for. Tags, blobs and layers are looked up where they are.

It is made from the blobs when it is lost, torn, empty or of another version. A row may be missing for an image that a killed
process wrote and never tagged, and a row may outlive its manifest: readers ask the blobs. Connections are opened for each
question (0.3 ms), so that none outlives the file or is shared by threads, and so there is a rollback journal and no write-ahead
log, which the last connection to close would fold back each time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import IntegrityError
from ..oci.descriptor import Descriptor, Digest
from .durable import full, locked

VERSION = 2
_SCHEMA = """
CREATE TABLE images (
  manifest TEXT NOT NULL PRIMARY KEY,
  media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  config TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_config ON images (config);
CREATE TABLE counted (
  blob TEXT NOT NULL PRIMARY KEY,
  size INTEGER NOT NULL
) WITHOUT ROWID;
"""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A manifest that the store holds, and the image ID (its configuration's digest)."""

    descriptor: Descriptor
    config: Digest


_AT_ONCE = 3
"""Files that SQLite has open for a transaction: the index, its journal, and the folder of both for an instant."""


class Metadata:
    """The index of one store; ``scan`` reads the rows from the blobs when there is no whole index."""

    def __init__(self, root: Path, scan: Callable[[], Iterable[Row]]) -> None:
        self._path = root / "index.sqlite3"
        self._lock = root / "index.lock"
        self._scan = scan
        self._patience = 30.0  # seconds that another process may hold SQLite's lock

    def find(self, prefix: str = "") -> tuple[Row, ...]:
        """The images whose ID begins with ``prefix`` (``sha256:…``), or all."""
        return self._ask(lambda connection: _read(connection, prefix))

    def add(self, *rows: Row) -> None:
        """Enter manifests; those that are there are not written again."""

        def enter(connection: sqlite3.Connection) -> None:
            query = "SELECT 1 FROM images WHERE manifest = ?"
            if not all(connection.execute(query, (row.descriptor.digest,)).fetchone() for row in rows):
                _insert(connection, rows)

        self._ask(enter)

    def remove(self, *manifests: Digest) -> None:
        """Strike out manifests that are gone."""

        def strike(connection: sqlite3.Connection) -> None:
            with _transaction(connection):
                connection.executemany(
                    "DELETE FROM images WHERE manifest = ?", [(str(digest),) for digest in manifests]
                )

        if manifests:
            self._ask(strike)

    def counted(self, blob: Digest) -> int | None:
        """The bytes of a blob uncompressed, if they were counted before."""
        query = "SELECT size FROM counted WHERE blob = ?"
        found = self._ask(lambda connection: connection.execute(query, (str(blob),)).fetchone())
        return int(found[0]) if found else None

    def count(self, blob: Digest, size: int) -> None:
        """Remember what was counted. The blob may go: if it comes again, it is the same."""

        def note(connection: sqlite3.Connection) -> None:
            with _transaction(connection):
                connection.execute("INSERT OR REPLACE INTO counted (blob, size) VALUES (?, ?)", (str(blob), size))

        self._ask(note)

    def rebuild(self) -> None:
        """Make the index anew from the blobs, whatever there is of it."""
        with locked(self._lock, exclusive=True):
            self._make()

    def _ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Answer from the index, made anew if it cannot answer."""
        try:
            with locked(self._lock, exclusive=False), self._connect() as connection:
                if connection.execute("PRAGMA user_version").fetchone() == (VERSION,):
                    return question(connection)
        except (sqlite3.Error, IntegrityError, TypeError, ValueError) as error:
            if not _is_torn(error):
                raise
        with locked(self._lock, exclusive=True):
            self._rebuild()
            with self._connect() as connection:
                return question(connection)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(
                sqlite3.connect(self._path, timeout=self._patience, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise full(self._path) from error
            if code == sqlite3.SQLITE_CANTOPEN and self._path.exists():
                with contextlib.ExitStack() as held:  # raises with the reason, which SQLite keeps to itself
                    for _ in range(_AT_ONCE):
                        held.callback(os.close, os.open(self._path, os.O_RDWR))
            raise

    def _rebuild(self) -> None:
        """Make the index from the blobs. The caller holds the lock alone, so no connection is open on the old file."""
        with contextlib.suppress(sqlite3.Error), self._connect() as connection:
            if connection.execute("PRAGMA user_version").fetchone() == (VERSION,) and _is_whole(connection):
                return  # another process was faster
        self._make()

    def _make(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        rows = tuple(self._scan())
        with self._connect() as connection, _transaction(connection):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            _insert_rows(connection, rows)
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    with _transaction(connection):
        _insert_rows(connection, rows)


def _insert_rows(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO images (manifest, media_type, size, config) VALUES (?, ?, ?, ?)",
        [(str(row.descriptor.digest), row.descriptor.media_type, row.descriptor.size, str(row.config)) for row in rows],
    )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. IMMEDIATE: a transaction that began by reading cannot wait for its turn to write (SQLITE_BUSY)."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _read(connection: sqlite3.Connection, prefix: str) -> tuple[Row, ...]:
    found = connection.execute(
        "SELECT manifest, media_type, size, config FROM images WHERE config >= ?1 AND config < ?1 || '~' ORDER BY manifest",
        (prefix,),
    )
    return tuple(
        Row(descriptor=Descriptor(media_type=str(kind), digest=Digest(manifest), size=int(size)), config=Digest(config))
        for manifest, kind, size, config in found
    )


def _is_whole(connection: sqlite3.Connection) -> bool:
    try:
        _read(connection, "")
    except (IntegrityError, TypeError, ValueError):
        return False
    return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def _is_torn(error: Exception) -> bool:
    """True if another index would not fail so: not for a lock, a full disk or a read-only file."""
    if not isinstance(error, sqlite3.Error):
        return True
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_SCHEMA,
    )
