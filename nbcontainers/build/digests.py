"""Digests of a context's files, kept between builds: a file that has not changed is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from ..errors import HostError
from ..oci.descriptor import Digest
from ..store.durable import replace

# A change within one tick of the clock that stamps files (10 ms on the slowest kernels) leaves both stamps as they were.
_SETTLED_NS = 50_000_000
_MOST_CONTEXTS = 100
_Row = list[int | str]


class FileDigests:
    """The digests of the files below one folder, in one small file; several builds at once may lose rows, never mix them up.

    A row counts only while size, both times and the inode are what they were.

    Args:
        kept: the folder that has a file for each context; None to keep nothing.
        root: the context.

    """

    def __init__(self, kept: Path | None, root: Path) -> None:
        self._file = kept / Digest.of(os.fsencode(root.absolute())).hex[:32] if kept else None
        self._rows: dict[str, _Row] = {}
        self._changed = False
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                read = json.loads(self._file.read_bytes())
                self._rows = read if isinstance(read, dict) else {}

    def of(self, name: str, path: str, status: os.stat_result) -> str:
        """The sha256 of a regular file's bytes.

        Args:
            name: its name in the context, under which the row is kept.
            path: where it can be opened.
            status: what lstat said of it.

        """
        stamp: _Row = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        row = self._rows.get(name)
        if row is not None and row[:4] == stamp and len(row) == 5 and isinstance(row[4], str):
            return row[4]
        with Path(path).open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        unchanged = stamp == [after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino]
        if unchanged and max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _SETTLED_NS:
            self._rows[name] = [*stamp, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Write the rows that are new; nothing is lost where that cannot be done."""
        if self._file is None or not self._changed:
            return
        folder = self._file.parent
        with contextlib.suppress(OSError, HostError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = json.dumps(self._rows, separators=(",", ":")).encode()
            replace(self._file, data, temporary=folder)
            self._changed = False
            files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
            for file in files[:-_MOST_CONTEXTS]:
                file.unlink(missing_ok=True)
