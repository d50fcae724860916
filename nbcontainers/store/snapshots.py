"""Snapshots: trees to write in, made from unpacked layers, whose changes become layers.

Two ways, one form on disk: unpacked layers are the same for both, and so are the layers that they make. An overlay is made in no time
and takes no room; where none can be, the files are copied.
"""

from __future__ import annotations

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..errors import Conflict, IntegrityError, NotFound
from ..events import Observer, ignore
from ..linux import mounts, smallfiles
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..oci.runtime import Mount
from ..results import Change
from . import underlay, unpacked
from .attributes import STAT
from .compression import Compression
from .content import Content
from .durable import saying_when_full
from .filling import Call
from .layers import CommittedLayer, Limits
from .rubbish import Rubbish
from .stock import Kind, Stock
from .worker import Adopt, Worker

_ABOUT = "about"  # the file that says what a snapshot was made from; the last one that ``prepare`` writes
_FOLDER = Kind("snapshot", folders=("upper", "work"), files=((f".{_ABOUT}", 0o644),))
_LAYER = Kind("layer", files=tuple((name, 0o644) for name in unpacked.BESIDE))


class Snapshotter(Protocol):
    """What a store makes trees with. A key names an active snapshot: letters, digits and ``-_.``."""

    name: str

    def prepare(self, key: str, parents: Sequence[Digest], *, volatile: bool = False) -> tuple[Mount, ...]:
        """Make a snapshot on top of unpacked layers (chain IDs from the base up; none: an empty tree); return its mounts.

        With ``volatile`` nothing that is written there has to outlive the machine: it becomes a layer soon, or is thrown away.

        Raises:
            Conflict: the key is taken.
            NotFound: a layer is not unpacked.
            HostError: the disk is full.

        """

    def mounts(
        self, key: str, *, footed: bool = False, parents: Sequence[Digest] | None = None, volatile: bool = False
    ) -> tuple[Mount, ...]:
        """The mounts of a snapshot that was prepared: NotFound if it was not, and who asks does not say on top of which layers.

        ``footed`` is for a container: where it can, the tree has what every container is mounted on, see ``underlay``. ``volatile``:
        see ``prepare``.
        """

    def beside(self, key: str, name: str, layers: Sequence[Digest]) -> Mount:
        """The mount, as a root, of unpacked layers (chain IDs from the base up; none: an empty tree) that are only to be read.

        What it needs lies beside the snapshot of that key, and is gone with it; ``name`` tells it from others there.

        Raises:
            NotFound: a layer is not unpacked.
            HostError: the disk is full.

        """

    def changes(self, key: str) -> tuple[Change, ...]:
        """What was changed in a snapshot, in the order of the paths."""

    def commit(
        self,
        key: str,
        *,
        created: int | None = None,
        keep: bool = False,
        compression: Compression = "gzip",
        first: Sequence[Call] = (),
        adopt: Adopt | None = None,
        on_event: Observer = ignore,
    ) -> CommittedLayer:
        """Make a snapshot's changes a layer: a blob, and unpacked, with its index; the key is gone then, unless ``keep``.

        ``created`` is an instant (seconds since the epoch) that no time in the layer is after. With ``keep`` the layer is unpacked by
        whoever needs it. ``first`` is done before (see ``filling``). The blob's file goes to ``adopt``, instead of becoming a
        blob before this returns.
        """

    def remove(self, key: str) -> None:
        """Throw a snapshot away; nothing if there is none."""

    def unpack(
        self, image: Image, on_event: Observer = ignore, *, limits: Limits | None = None, depth: int | None = None
    ) -> None:
        """Make sure that each layer of an image is unpacked, verified against its diff ID; with ``depth`` its lowest ones only.

        Raises:
            NotFound: a layer's blob is not in the store.
            IntegrityError: a blob is damaged, hostile, or not what the image says.

        """


class _Snapshots(ABC):
    """What both ways have in common."""

    name: str
    _copied: bool

    def __init__(self, root: Path, content: Content, worker: Worker, stock: Stock, rubbish: Rubbish) -> None:
        self._root = root
        self._layers = f"{root}/layers"
        self._content = content
        self._worker = worker
        self._stock = stock
        self._rubbish = rubbish

    def prepare(self, key: str, parents: Sequence[Digest], *, volatile: bool = False) -> tuple[Mount, ...]:
        """See ``Snapshotter.prepare``."""
        self._content.leases.protect(key, *parents)
        self._require(parents)
        snapshot = self._folder(key)
        with saying_when_full(snapshot):
            try:
                self._stock.take(_FOLDER, snapshot)
            except FileExistsError:
                raise Conflict(
                    f"there is a snapshot {key} already", hint="remove its container, or choose another name"
                ) from None
            try:
                self._begin(key, parents)
                about = {"kind": self.name, "parents": list(parents)}
                smallfiles.publish(f"{snapshot}/{_ABOUT}", json.dumps(about).encode())
            except BaseException:
                self.remove(key)
                raise
        return self._mounts(snapshot, parents, volatile=volatile)

    def _require(self, layers: Sequence[Digest]) -> None:
        for chain in layers:
            if not unpacked.usable(f"{self._layers}/{chain.hex}"):
                raise NotFound(f"layer {chain.short} is not unpacked", hint="unpack the image first")

    @abstractmethod
    def _begin(self, key: str, parents: Sequence[Digest]) -> None:
        """Put below a new snapshot what it stands on."""

    def beside(self, key: str, name: str, layers: Sequence[Digest]) -> Mount:
        """See ``Snapshotter.beside``."""
        self._require(layers)
        folder = f"{self._folder(key)}/{name}"
        with saying_when_full(folder):
            os.makedirs(f"{folder}/upper")
            return self._beside(f"{key}/{name}", f"{folder}/upper", layers)

    @abstractmethod
    def _beside(self, key: str, folder: str, layers: Sequence[Digest]) -> Mount:
        """The mount that shows layers alone; ``folder`` is empty, and goes with the snapshot that it lies in."""

    def mounts(
        self, key: str, *, footed: bool = False, parents: Sequence[Digest] | None = None, volatile: bool = False
    ) -> tuple[Mount, ...]:
        """See ``Snapshotter.mounts``."""
        return self._mounts(self._folder(key), self._parents(key) if parents is None else parents, volatile=volatile)

    @abstractmethod
    def _mounts(self, snapshot: str, parents: Sequence[Digest], *, volatile: bool = False) -> tuple[Mount, ...]:
        """The mounts by which a snapshot in a folder is seen."""

    def changes(self, key: str) -> tuple[Change, ...]:
        """See ``Snapshotter.changes``."""
        return self._worker.changes(key, self._parents(key), copied=self._copied)

    def commit(
        self,
        key: str,
        *,
        created: int | None = None,
        keep: bool = False,
        compression: Compression = "gzip",
        first: Sequence[Call] = (),
        adopt: Adopt | None = None,
        on_event: Observer = ignore,
    ) -> CommittedLayer:
        """See ``Snapshotter.commit``."""
        parents = self._parents(key)
        if not keep:
            begun = f"{self._folder(key)}/{unpacked.BEGUN}"
            with saying_when_full(begun), contextlib.suppress(FileExistsError):  # a commit failed after this
                self._stock.take(_LAYER, begun)
        layer = self._worker.commit(
            key,
            parents=parents,
            copied=self._copied,
            keep=keep,
            created=created,
            compression=compression,
            first=first,
            adopt=adopt or self._content.adopt,
            protect=self._content.leases.protect,
            on_event=on_event,
        )
        if not keep:
            self.remove(key)
        return layer

    def remove(self, key: str) -> None:
        """See ``Snapshotter.remove``."""
        self._rubbish.take(self._folder(key))

    def unpack(
        self, image: Image, on_event: Observer = ignore, *, limits: Limits | None = None, depth: int | None = None
    ) -> None:
        """See ``Snapshotter.unpack``."""
        chains = image.chain_ids
        self._content.leases.protect(*chains)
        layers = tuple(zip(image.layers, image.config.diff_ids, chains, strict=True))[:depth]
        for below, (layer, diff_id, chain) in enumerate(layers):
            if unpacked.usable(f"{self._layers}/{chain.hex}"):
                continue
            if not self._content.has(layer.digest):
                raise NotFound(
                    f"the store has no blob {layer.digest.short} of {image.name}", hint="load or pull the image again"
                )
            self._worker.unpack(
                self._content.path(layer.digest),
                diff_id,
                chain,
                parents=chains[:below],
                limits=limits,
                on_event=on_event,
            )

    def _folder(self, key: str) -> str:
        if not key or key.startswith(".") or "/" in key:
            raise ValueError(f"not a snapshot's key: {key!r}")
        return str(unpacked.snapshot(self._root, key))

    def _parents(self, key: str) -> tuple[Digest, ...]:
        try:
            about = json.loads(smallfiles.read(f"{self._folder(key)}/{_ABOUT}"))
            return tuple(Digest(chain) for chain in about["parents"])
        except FileNotFoundError:
            raise NotFound(f"no snapshot {key}", hint="its container was removed, or never made") from None
        except (ValueError, KeyError, TypeError) as error:
            hint = f"'nbcontainers rm {key[:12]}' removes its container"
            raise IntegrityError(f"{self._folder(key)}/{_ABOUT} is damaged: {error}", hint=hint) from error

    def _tree(self, chain: Digest) -> str:
        return f"{self._layers}/{chain.hex}/fs"


class OverlaySnapshots(_Snapshots):
    """Snapshots as upper directories of overlays; without parents, the bare folder."""

    name = "overlay"
    _copied = False

    def mounts(
        self, key: str, *, footed: bool = False, parents: Sequence[Digest] | None = None, volatile: bool = False
    ) -> tuple[Mount, ...]:
        """See ``Snapshotter.mounts``."""
        below: tuple[str, ...] = ()
        if footed:
            with contextlib.suppress(OSError):  # where a disk is full: whoever mounts on what is missing hears of that
                below = (underlay.folder(str(self._root)),)
        layers = self._parents(key) if parents is None else parents
        return self._mounts(self._folder(key), layers, volatile=volatile, below=below)

    def _begin(self, key: str, parents: Sequence[Digest]) -> None:
        """An overlay shows its upper directory's own root, so that begins as the root below it."""
        upper = f"{self._folder(key)}/upper"
        if not parents:
            os.chmod(upper, 0o755)
            return
        below = self._tree(parents[-1])
        status = os.stat(below)
        with contextlib.suppress(OSError):  # on most there is none
            os.setxattr(upper, STAT, os.getxattr(below, STAT))
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)

    def _mounts(
        self, snapshot: str, parents: Sequence[Digest], *, volatile: bool = False, below: Sequence[str] = ()
    ) -> tuple[Mount, ...]:
        if not parents:
            return (mounts.bind(f"{snapshot}/upper"),)
        lower = [*(self._tree(chain) for chain in reversed(parents)), *below]
        return (mounts.overlay(lower, f"{snapshot}/upper", f"{snapshot}/work", volatile=volatile),)

    def _beside(self, key: str, folder: str, layers: Sequence[Digest]) -> Mount:
        """An overlay of lower folders alone wants two at least, so an empty one lies lowest: nobody can write to it, not even who can
        mount it again, as root could write to a layer that is bound.
        """
        os.chmod(folder, 0o755)
        if not layers:
            return mounts.bind(folder)
        return mounts.overlay([*(self._tree(chain) for chain in reversed(layers)), folder])


class CopySnapshots(_Snapshots):
    """Snapshots as whole copies, for hosts and disks that can have no overlay. Blocks are shared where the file system can."""

    name = "copy"
    _copied = True

    def _begin(self, key: str, parents: Sequence[Digest]) -> None:
        self._worker.fill(key, parents)

    def _beside(self, key: str, folder: str, layers: Sequence[Digest]) -> Mount:
        self._worker.fill(key, layers)
        return mounts.bind(folder)

    def _mounts(self, snapshot: str, parents: Sequence[Digest], *, volatile: bool = False) -> tuple[Mount, ...]:
        return (mounts.bind(f"{snapshot}/upper"),)


def choose(
    root: Path, content: Content, worker: Worker, stock: Stock, rubbish: Rubbish, *, copies: bool = False
) -> Snapshotter:
    """The way that this host and the store's disk allow: found by trying once, and remembered until kernel, disk or user change.

    ``copies`` says that nobody can mount anything here.
    """
    if copies:
        return CopySnapshots(root, content, worker, stock, rubbish)
    told = root / "overlay.json"
    status = os.stat(root)
    about = [os.uname().release, os.uname().version, status.st_dev, os.geteuid()]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(told.read_text())
        if known["about"] == about:
            return (OverlaySnapshots if not known["why"] else CopySnapshots)(root, content, worker, stock, rubbish)
    why = worker.probe_overlay(root / "ingest")
    scratch = root / "ingest" / f"overlay-{os.getpid()}"
    scratch.write_text(json.dumps({"about": about, "why": why}))
    scratch.rename(told)
    return (OverlaySnapshots if not why else CopySnapshots)(root, content, worker, stock, rubbish)
