"""What the folders of unpacked layers and of snapshots say about themselves, readable by engine and worker alike."""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path

from ..errors import IntegrityError, NotFound
from ..linux import recorded, smallfiles
from ..oci.descriptor import Digest
from . import lookups
from .entries import Index
from .merged import FOLDER

BESIDE = ("index", "meta", recorded.PLAIN)  # the files beside a layer's tree
BEGUN = "layer"  # the folder in a snapshot's that becomes a layer's when that is committed
SETTLED = "settled"  # beside a layer's tree once all of it was brought to the disk
_ID, _SHORT = 64, 12  # digits of a container's ID, and of those by which it is called
_FILLED = "filled"  # beside a copied snapshot's tree once it was complete


def snapshot(root: Path, key: str) -> Path:
    """The folder of a snapshot. That of a container has the first digits of its ID only: where PRoot shows a tree (tier T4), a Unix
    socket in it has a path of this host's, which may have 107 bytes.
    """
    name, slash, beside = key.partition("/")  # with a name, another tree in that folder
    return root / "snapshots" / ((name[:_SHORT] if len(name) == _ID else name) + slash + beside)


@functools.cache
def boot() -> str:
    """What tells this run of the kernel from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


_whole: dict[str, tuple[int, int]] = {}  # layers that were found whole: inode and time of what says so


def usable(folder: str | Path) -> bool:
    """True if a layer's folder is there and whole.

    Thousands of files are not brought to the disk before a layer is used. So one that was unpacked before the machine stopped, and
    not settled, may have lost content: it is unpacked again from its blob.
    """
    layer = os.fspath(folder)
    try:
        status = os.stat(f"{layer}/meta")
        this = status.st_ino, status.st_mtime_ns
        if _whole.get(layer) == this:
            return True
        meta = json.loads(smallfiles.read(f"{layer}/meta"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    if not os.path.exists(f"{layer}/{SETTLED}") and meta.get("boot") != boot():
        return False
    _whole[layer] = this
    return True


def lock(root: Path, chain: str) -> Path:
    """The file that is locked by whoever makes a layer, until a lease names that: the collector leaves it alone for so long."""
    return Path(f"{root}/ingest/{Digest(chain).hex}.lock")


def unlock(root: Path, chain: str, held: int) -> None:
    """Let go of the lock of a layer; ``held`` is closed."""
    lock(root, chain).unlink(missing_ok=True)
    os.close(held)


def size(layer: Path) -> int:
    """The bytes of a layer's files, as they were counted when it was unpacked; 0 where that cannot be read."""
    try:
        return int(json.loads((layer / "meta").read_text())["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def index(root: Path, chain: Digest) -> Index:
    """The index of an unpacked layer: NotFound if it is not unpacked, IntegrityError if it is torn."""
    path = root / "layers" / chain.hex / "index"
    try:
        return Index.from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"no unpacked layer {chain.short}", hint="unpack its image first") from None


def content(root: Path, chain: Digest, path: str, *, limit: int) -> bytes:
    """The content of a file that an unpacked layer holds (``/etc/passwd``), whatever links are on the way.

    Raises:
        NotFound: the layer is not unpacked, or has no such file.
        Conflict: it is no regular file, or is longer than ``limit`` bytes.
        PermissionError: only the containers' root may read it; the worker can.

    """
    try:
        tree = os.open(root / "layers" / chain.hex / "fs", FOLDER)
    except FileNotFoundError:
        raise NotFound(f"no unpacked layer {chain.short}", hint="unpack its image first") from None
    try:
        return lookups.read(tree, os.fsencode(path), limit)
    finally:
        os.close(tree)


def mark_filled(snapshot: Path) -> None:
    """Note that a snapshot's tree is a complete copy: what is changed from now on has a later change time, by the same clock."""
    path = snapshot / _FILLED
    path.touch()
    copied = os.stat(snapshot / "upper").st_ctime_ns
    while path.stat().st_ctime_ns <= copied:
        time.sleep(0.002)  # the clock of a file system may go by steps of 10 ms
        os.utime(path)


def filled(snapshot: Path) -> int:
    """The instant that ``mark_filled`` noted."""
    try:
        return (snapshot / _FILLED).stat().st_ctime_ns
    except FileNotFoundError:
        raise IntegrityError(f"the snapshot {snapshot.name} is half made", hint="remove its container") from None
