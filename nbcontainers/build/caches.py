"""Cache mounts: folders that RUN steps share between builds, kept apart by their names and never part of a layer.

Each is ROOT/cache/mounts/NAME with the folder ``fs`` in it, the file ``about`` that says what it is for, and the file ``lock``,
which is flocked by who uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..store import stopping
from ..store.worker import Worker
from .mounts import Sharing

_FOLDER = "mounts"
_MOMENT = 0.05  # seconds between two looks at a lock, which no signal to another thread could end a wait for


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A cache mount at rest: its name in the Dockerfile, its folder, and when it was last used (seconds since the epoch)."""

    id: str
    path: Path
    used: float


@contextlib.contextmanager
def used(
    root: Path, identifier: str, sharing: Sharing, make: Callable[[Path], object], key: str = ""
) -> Iterator[Path]:
    """The folder of a cache, held while it is used: ``locked`` waits for the others, ``private`` takes a folder of its own.

    Args:
        root: the store's folder.
        identifier: the cache's ``id``.
        sharing: how it is shared with others that use it at the same time.
        make: makes the folder where it is not there yet.
        key: what else tells caches of the same name apart: where their first content comes from.

    """
    name = hashlib.sha256(f"{identifier}\0{key}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    number = 0
    while True:
        place = root / "cache" / _FOLDER / (f"{name}-{number}" if number else name)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (place / "lock").open("ab") as lock:
            kind = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if sharing == "private":
                    number += 1
                else:
                    stopping.check()
                    time.sleep(_MOMENT)
                continue
            if not _is(lock.fileno(), place / "lock"):
                continue  # it was pruned between its making and its lock
            if not (place / "fs").exists():
                with contextlib.suppress(FileExistsError):
                    make(place / "fs")
            _note(place, identifier)
            yield place / "fs"
            return


def every(root: Path) -> Iterator[CacheMount]:
    """The cache mounts of a store."""
    folder = root / "cache" / _FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, KeyError):
            about = json.loads((path / "about").read_bytes())
            yield CacheMount(id=str(about["id"]), path=path, used=float(about["used"]))


def remove(cache: CacheMount, worker: Worker) -> bool:
    """Remove a cache that nobody uses; False where somebody does."""
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context((cache.path / "lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return False
        worker.remove(cache.path)
        return True


def _is(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _note(place: Path, identifier: str) -> None:
    scratch = place / f".about-{os.getpid()}"
    scratch.write_text(json.dumps({"id": identifier, "used": time.time()}))
    scratch.rename(place / "about")
