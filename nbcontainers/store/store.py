"""One folder that holds everything: see DESIGN for what lies where."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from ..errors import Conflict, HostError
from ..linux.idmap import Identity
from ..oci.descriptor import Digest
from . import garbage, snapshots
from .content import Content
from .durable import replace, saying_when_full
from .images import Images
from .leases import Lease, Leases
from .rubbish import Rubbish
from .snapshots import Snapshotter
from .stock import Stock
from .volumes import Volumes
from .worker import Worker

VERSION = 1
Holder = Callable[[Path], garbage.Needed]
_USERS = "users"
_WHOSE = {"host": "the host's users", "range": "a range of ids", "single": "one id"}
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_FOLDERS = (
    "blobs/sha256",
    "tags",
    "layers",
    "snapshots",
    "containers",
    "names",
    "cache",
    "leases",
    "ingest",
    "stock",
    "trash",
)


class Store:
    """The store in a folder, opened or made; several processes may hold it open at once.

    ``holders`` are asked, with that folder, for what others than tags and leases need: image IDs, digests of blobs and manifests;
    chain IDs. Nobody but this engine's upper layers knows of containers and of the build cache. ``copies`` says that nothing can be
    mounted, so that trees are copied.

    Raises:
        HostError: the folder belongs to another user, or cannot be made.
        Conflict: a newer nbcontainers has made it, or files in it belong to other users than ``identity`` has.

    """

    def __init__(self, root: Path, *, identity: Identity, holders: Sequence[Holder] = (), copies: bool = False) -> None:
        self.root = root.absolute()
        self.identity = identity
        self._holders = tuple(holders)
        self._copies = copies
        _prepare(self.root, identity.users)
        self.leases = Leases(self.root)
        self.content = Content(self.root, self.leases)
        self.images = Images(self.root, self.content, self.leases, discard=self._discard, held=self.held)
        self.worker = Worker(self.root, identity)
        self.stock = Stock(self.root)
        self.rubbish = Rubbish(self.root, self._discard, self.stock.fill)
        self.volumes = Volumes(self.root, self.worker)
        self._mutex = threading.Lock()
        self._snapshots: Snapshotter | None = None

    @property
    def snapshots(self) -> Snapshotter:
        """Trees to write in, made in the way that the host and the disk allow, which is found when it is first asked for."""
        with self._mutex:
            if self._snapshots is None:
                self._snapshots = snapshots.choose(
                    self.root, self.content, self.worker, self.stock, self.rubbish, copies=self._copies
                )
            return self._snapshots

    def lease(self, *names: str) -> contextlib.AbstractContextManager[Lease]:
        """Keep from the collector what the lease names, and every blob that this process writes while it is held."""
        return self.leases.hold(*names)

    def layers(self) -> tuple[Digest, ...]:
        """The chain IDs of the unpacked layers."""
        return garbage.unpacked(self.root)

    def tidy(self) -> None:
        """Remove what a worker that was ended in its work has left half made; what others make stays."""
        with self.leases.exclusive():
            garbage.sweep_ingest(self.root)
        garbage.empty_trash(self.root, self._discard)

    def held(self) -> garbage.Needed:
        """What the holders need."""
        return functools.reduce(operator.or_, (holder(self.root) for holder in self._holders), garbage.Needed())

    def _discard(self, path: Path) -> None:
        """Remove a tree; where its folders have other owners than this process, the worker does it."""
        try:
            garbage.discard(path)
        except PermissionError:
            self.worker.remove(path)

    def close(self) -> None:
        """Remove what was thrown away, and end the worker's process, if there is one; the store can be used again."""
        self.rubbish.close()
        self.worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def users(root: Path) -> str:
    """Whose the files of containers are in a store (see ``Identity.users``); empty where there is none yet, or that is torn."""
    try:
        word = (root / _USERS).read_text(errors="replace").strip()
    except OSError:
        return ""
    return word if word in _WHOSE else ""


def _prepare(root: Path, whose: str) -> None:
    """Make what is missing of the folder; what another process makes at the same time is the same."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = root.stat().st_uid
    except OSError as error:
        raise HostError(
            f"cannot make the store {root}: {error.strerror}", hint="name another folder in NBCONTAINERS_ROOT"
        ) from error
    if owner != os.geteuid():
        raise HostError(
            f"the store {root} belongs to uid {owner}, and this is uid {os.geteuid()}",
            hint="a store has one user: become that user, or name another folder in NBCONTAINERS_ROOT",
        )
    version = root / "version"
    try:
        found = version.read_text().strip()
    except FileNotFoundError:
        found = ""
    if found and found != str(VERSION):
        raise Conflict(
            f"the store {root} has version {found[:20]!r}, and this nbcontainers reads version {VERSION}",
            hint="use the newer nbcontainers that made it, or name another folder in NBCONTAINERS_ROOT",
        )
    if users(root) not in ("", whose):
        raise Conflict(
            f"the store {root} has files of {_WHOSE[users(root)]}, and this tier's belong to {_WHOSE[whose]}",
            hint="leave NBCONTAINERS_TIER as it was, or name another folder in NBCONTAINERS_ROOT",
        )
    with saying_when_full(root):
        for folder in _FOLDERS:
            (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    if not found:
        replace(root / "oci-layout", _LAYOUT, temporary=root / "ingest")
        replace(version, f"{VERSION}\n".encode(), temporary=root / "ingest")
    if not users(root):
        replace(root / _USERS, f"{whose}\n".encode(), temporary=root / "ingest")
