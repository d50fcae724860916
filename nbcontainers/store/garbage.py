"""What nothing names any more: found from the blobs themselves and taken away, whole images first.

The caller holds the store's gate alone, so what is reachable at the beginning is all that is reachable at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..errors import IntegrityError, NBContainersError, NotFound
from ..oci.descriptor import INDEXES, Descriptor, Digest
from ..oci.image import ImageConfig, Index, Manifest, chain_ids, parse
from ..results import Collected
from . import parts, removal
from . import unpacked as trees
from .content import Content
from .durable import abandoned
from .metadata import Row

DOCUMENT_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Documents:
    """The manifests and indexes among the blobs, by their digests."""

    manifests: dict[Digest, Manifest]
    indexes: dict[Digest, Index]

    def rows(self, content: Content) -> Iterator[Row]:
        """The manifests of images, as the index lists them; what was collected since they were read is left out."""
        for digest, manifest in self.manifests.items():
            if not manifest.artifact:
                with contextlib.suppress(NotFound):
                    descriptor = Descriptor(media_type=manifest.media_type, digest=digest, size=content.size(digest))
                    yield Row(descriptor=descriptor, config=manifest.config.digest)


@dataclass(frozen=True, slots=True)
class Needed:
    """What stays: blobs by digest, and unpacked layers by chain ID. Two sets, for of a plain base layer these are one word."""

    blobs: Set[str] = frozenset()
    layers: Set[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Needed:
        """Names of which it is not known what they are: they may be either."""
        both = frozenset(names)
        return cls(both, both)

    def __or__(self, other: Needed) -> Needed:
        return Needed(self.blobs | other.blobs, self.layers | other.layers)


def documents(content: Content) -> Documents:
    """Read every blob that is a manifest or an index; damaged ones are none."""
    found = Documents({}, {})
    for digest in content:
        try:
            if content.size(digest) > DOCUMENT_LIMIT:
                continue
            with content.open(digest) as blob:
                if blob.read(1) != b"{":
                    continue
            fields = parse(content.read(digest), f"blob {digest}")
            if "manifests" in fields:
                found.indexes[digest] = Index.from_json(fields)
            elif "layers" in fields:
                found.manifests[digest] = Manifest.from_json(fields)
        except NBContainersError:
            continue
    return found


def reachable(content: Content, found: Documents, roots: Needed) -> Needed:
    """All that the roots need, and the roots; one may be an image ID, and a name that is no digest.

    Raises:
        IntegrityError: a manifest or index is named and cannot be read, so what it needs cannot be told.

    """
    by_config: dict[Digest, list[Digest]] = {}
    for digest, document in found.manifests.items():
        by_config.setdefault(document.config.digest, []).append(digest)
    seen: set[str] = set()
    layers = set(roots.layers)
    rest: list[Digest] = []
    for root in cast("Set[Digest]", roots.blobs):  # what is no digest finds nothing
        rest.append(root)
        rest.extend(by_config.get(root, ()))
    while rest:
        name = rest.pop()
        if name in seen:
            continue
        seen.add(name)
        if manifest := found.manifests.get(name):
            rest.append(manifest.config.digest)
            rest.extend(layer.digest for layer in manifest.layers)
            layers.update(_trees(content, manifest))
        elif index := found.indexes.get(name):
            rest.extend(entry.digest for entry in index.manifests)
    return Needed(seen, layers)


def _trees(content: Content, manifest: Manifest) -> tuple[Digest, ...]:
    """The chain IDs of an image; an artifact has no tree, and of an image still on its way nothing is unpacked."""
    if manifest.artifact or not content.has(manifest.config.digest):
        return ()
    return chain_ids(ImageConfig.from_json(parse(content.read(manifest.config.digest), "configuration")).diff_ids)


def readable(found: Documents, descriptor: Descriptor) -> None:
    """Raise IntegrityError if a tag's manifest is not among the documents."""
    if descriptor.digest in (found.indexes if descriptor.media_type in INDEXES else found.manifests):
        return
    raise IntegrityError(
        f"the manifest {descriptor.digest} is missing or damaged, so what its image needs cannot be told",
        expected=descriptor.digest,
        hint="load or pull the image again, or remove it with 'nbcontainers rmi -f'",
    )


def sweep(
    root: Path,
    content: Content,
    found: Documents,
    keep: Needed,
    only: Collection[str] | None = None,
    *,
    forget: Callable[..., object],
) -> Collected:
    """Remove blobs and layers that are not kept, of all or of ``only`` those; layers go to ROOT/trash, to be emptied later.

    ``forget`` is called with the manifests before they go, to strike them out of the index: whoever brings one of them again has it
    listed when it is whole, not before.
    """
    blobs = [digest for digest in content if digest not in keep.blobs and (only is None or digest in only)]
    # Documents first: were this process killed half-way, no image would be left that names what is gone.
    blobs.sort(key=lambda digest: (digest not in found.indexes, digest not in found.manifests, digest))
    forget(*(digest for digest in blobs if digest in found.manifests))
    size = 0
    for digest in blobs:
        size += content.size(digest)
        content.delete(digest)
    layers = drop_layers(
        root, [digest for digest in unpacked(root) if digest not in keep.layers and (only is None or digest in only)]
    )
    images = {found.manifests[digest].config.digest for digest in blobs if digest in found.manifests}
    return Collected(
        images=tuple(sorted(image for image in images if not content.has(image))),
        blobs=tuple(blobs),
        layers=layers.layers,
        size=size,
        unpacked=layers.unpacked,
    )


def drop_layers(root: Path, chains: Iterable[Digest]) -> Collected:
    """Move unpacked layers to ROOT/trash, but for those that are being made."""
    gone, size = [], 0
    for digest in chains:
        if abandoned(trees.lock(root, digest)):
            size += trees.size(root / "layers" / digest.hex)
            _throw_away(root, root / "layers" / digest.hex)
            gone.append(digest)
    return Collected(layers=tuple(gone), unpacked=size)


def unpacked(root: Path) -> tuple[Digest, ...]:
    """The chain IDs of the unpacked layers."""
    names = sorted(os.listdir(root / "layers"))
    return tuple(Digest(f"sha256:{name}") for name in names if len(name) == 64 and set(name) <= set("0123456789abcdef"))


def sweep_scratch(root: Path, *, busy: bool) -> None:
    """Throw away what killed processes left, files and trees in ROOT/ingest, and snapshots that no container has; and what is in stock.

    What is being made is locked by its maker. The snapshots of a build are not, so while any lease lives (``busy``) all of it stays.
    """
    if busy:
        return
    sweep_ingest(root)
    parts.sweep(root)
    found = list((root / "snapshots").iterdir())
    # A container's folder is made before its snapshot and removed after it.
    for path in {*found} - {trees.snapshot(root, name) for name in os.listdir(root / "containers")}:
        _throw_away(root, path)
    for path in (root / "stock").iterdir():
        _throw_away(root, path)


def sweep_ingest(root: Path) -> None:
    """Throw away what was half made and has no maker any more; the caller holds the gate alone."""
    for path in (root / "ingest").iterdir():
        if abandoned(path):
            _throw_away(root, path)


def _throw_away(root: Path, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # its maker has just finished
        path.rename(root / "trash" / secrets.token_hex(16))


def empty_trash(root: Path, discard: Callable[[Path], object]) -> None:
    """Remove what was thrown away, by whoever, one process after another; needs no gate, for nothing in the trash has a name."""
    trash = os.open(root / "trash", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(trash, fcntl.LOCK_EX)
        for name in sorted(os.listdir(trash)):
            discard(root / "trash" / name)
    finally:
        os.close(trash)


def discard(path: Path) -> None:
    """Remove a tree whose folders this process owns; those of other owners are the worker's to remove."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        removal.remove(folder, os.fsencode(path.name))
    finally:
        os.close(folder)
