"""Blobs that have come in part: kept as ROOT/parts/ALGORITHM-HEX when their pull ends early, however it ends, for the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import HostError, IntegrityError
from ..oci.descriptor import Descriptor
from .content import Content, Ingest
from .durable import Stream, abandoned, saying_when_full

FRESH = 86400.0  # seconds that a part waits for the next pull
_FOLDER = "parts"
_BLOCK = 1 << 20


class Part(Ingest):
    """A blob on its way in that goes on where an earlier one was cut short; ``size`` says where that was.

    What was there is hashed again, so ``commit`` verifies the whole. After an error of its bytes or of the disk nothing is left,
    after any other end what came is. Whoever comes while another brings the same blob writes a file of its own from the beginning.
    """

    def __init__(self, content: Content, wanted: Descriptor) -> None:
        super().__init__(content, algorithm=wanted.digest.algorithm, limit=wanted.size)
        self._named = content.root / _FOLDER / f"{wanted.digest.algorithm}-{wanted.digest.hex}"
        self._most = wanted.size

    def __enter__(self) -> Self:
        with self._content.leases.shared(), saying_when_full(self._named):
            self._named.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = _take(self._named)
        if self._descriptor < 0:
            return super().__enter__()
        self.path = self._named
        try:
            if os.fstat(self._descriptor).st_size > self._most:
                self.begin_anew()
            size = 0
            while block := os.read(self._descriptor, _BLOCK):
                self._hash.update(block)
                size += len(block)
            self._stream = Stream(self._descriptor, size)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        error = exception[1] if exception else None
        is_worth_it = error is not None and not isinstance(error, HostError | IntegrityError)
        if self._descriptor >= 0 and self.path == self._named and self.size and is_worth_it:
            self._close()
        super().__exit__(*exception)


def _take(path: Path) -> int:
    """A descriptor of the part, locked; -1 if another has it. The caller holds the gate, so no collector takes it away."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except PermissionError:  # its writer was killed between making it read-only and naming it as a blob
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):  # else it has become a blob meanwhile
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


@dataclass(frozen=True, slots=True)
class Found:
    """A part in the store: its bytes, when the last of them came, and whether someone is bringing more."""

    path: Path
    size: int
    changed: float
    is_live: bool


def every(root: Path) -> Iterator[Found]:
    """The parts in a store, in no order."""
    with contextlib.suppress(FileNotFoundError):
        for path in (root / _FOLDER).iterdir():
            with contextlib.suppress(FileNotFoundError):  # it is a blob by now
                about = path.lstat()
                yield Found(path, about.st_size, about.st_mtime, not abandoned(path))


def sweep(root: Path, *, before: float | None = None) -> int:
    """Remove the parts that nobody has added to since an instant, a day ago if none is given; the bytes that they took.

    What is being brought stays. The caller holds the gate alone.
    """
    instant, size = time.time() - FRESH if before is None else before, 0
    for part in every(root):
        if not part.is_live and part.changed < instant:
            part.path.unlink(missing_ok=True)
            size += part.size
    return size
