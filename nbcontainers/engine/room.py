"""What a store takes of the disk, and the cap on that."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..build import caches, records
from ..errors import NotFound
from ..events import Observer, Warned, ignore
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..results import DiskUse, Pruned, VolumeState
from ..store import parts, unpacked
from ..store.store import Store
from . import options
from .upkeep import LIVE, drop_parts, held, parents, written

if TYPE_CHECKING:
    from .container import Container

LIMIT = "NBCONTAINERS_DISK_LIMIT"


def disk_use(store: Store, containers: Sequence[Container], volumes: Sequence[VolumeState]) -> tuple[DiskUse, ...]:
    """What the images, containers, volumes, unpacked layers, half-done downloads and build cache of a store take, in bytes."""
    stands = held(store.root)
    images = {image.id: image for image in store.images.list()}
    everything, needed = _blobs(images.values()), _blobs(image for image in images.values() if image.id in stands.blobs)
    states = []
    for container in containers:
        with contextlib.suppress(NotFound):
            states.append(container.state)
    sizes = written(store, [state.id for state in states])
    runs = [state.status in LIVE for state in states]
    trees = {chain: unpacked.size(store.root / "layers" / chain.hex) for chain in store.layers()}
    cache = {path.name: made.descriptor for path, made in records.every(store.root)}
    own = {blob.digest: blob.size for blob in cache.values() if blob.digest not in everything}
    mounts = _cache_mounts(store)
    kept = dict(
        zip([volume.name for volume in volumes], _measured(store, [volume.path for volume in volumes]), strict=True)
    )
    partial = tuple(parts.every(store.root))
    return (
        DiskUse(
            kind="Images",
            total=len(images),
            active=sum(image in stands.blobs for image in images),
            size=sum(everything.values()),
            reclaimable=sum(size for digest, size in everything.items() if digest not in needed),
        ),
        DiskUse(
            kind="Containers",
            total=len(states),
            active=sum(runs),
            size=sum(sizes),
            reclaimable=sum(size for size, live in zip(sizes, runs, strict=True) if not live),
        ),
        DiskUse(
            kind="Local Volumes",
            total=len(volumes),
            active=sum(bool(volume.users) for volume in volumes),
            size=sum(kept.values()),
            reclaimable=sum(kept[volume.name] for volume in volumes if not volume.users),
        ),
        DiskUse(
            kind="Unpacked Layers",
            total=len(trees),
            active=sum(chain in stands.layers for chain in trees),
            size=sum(trees.values()),
            reclaimable=sum(size for chain, size in trees.items() if chain not in stands.layers),
        ),
        DiskUse(
            kind="Partial Pulls",
            total=len(partial),
            active=sum(part.is_live for part in partial),
            size=sum(part.size for part in partial),
            reclaimable=sum(part.size for part in partial if not part.is_live),
        ),
        DiskUse(
            kind="Build Cache",
            total=len(cache) + len(mounts),
            active=sum(blob.digest in everything for blob in cache.values()),
            size=sum(own.values()) + sum(mounts.values()),
            reclaimable=sum(own.values()) + sum(mounts.values()),
        ),
    )


def sizes(store: Store, container: str) -> dict[str, int]:
    """Docker's ``SizeRw`` and ``SizeRootFs`` of a container: what it wrote, and that with the layers below."""
    (own,) = written(store, [container])
    below = sum(unpacked.size(store.root / "layers" / Digest(chain).hex) for chain in parents(store.root, container))
    return {"SizeRw": own, "SizeRootFs": own + below}


def _measured(store: Store, folders: Sequence[str | Path]) -> tuple[int, ...]:
    """The bytes on the disk of folders of the store, as the containers' root sees them."""
    relative = [str(Path(folder).relative_to(store.root)) for folder in folders]
    return store.worker.measure(relative) if relative else ()


def _cache_mounts(store: Store) -> dict[str, int]:
    """The folders that RUN steps share, by name, with their bytes."""
    found = tuple(caches.every(store.root))
    sizes = _measured(store, [cache.path for cache in found])
    return {cache.path.name: size for cache, size in zip(found, sizes, strict=True)}


def _blobs(images: Iterable[Image]) -> dict[Digest, int]:
    return {
        part.digest: part.size for image in images for part in (image.descriptor, image.manifest.config, *image.layers)
    }


def keep_within(store: Store, limit: int, *, on_event: Observer = ignore) -> Pruned:
    """Remove what can be made again until the store takes ``limit`` bytes at most, the longest unused first.

    What pulls have left half done goes first, then unpacked layers, those of images without a name before others, then steps of
    builds. Images and containers stay: if they are more than the limit, that is said.
    """
    over = _taken(store) - limit
    layers: list[Digest] = []
    keys: list[str] = []
    freed = drop_parts(store, time.time()) if over > 0 else 0
    steps = _removable(store) if over > 0 else iter(())
    while freed < over and (step := next(steps, None)):
        size, chains, key = step()
        freed, layers = freed + size, [*layers, *chains]
        keys += [key] if key else []
    if freed < over:
        on_event(
            Warned(
                message=f"the store takes {limit + over - freed} bytes, and {LIMIT} allows {limit}",
                hint="what is left cannot be made again: remove images or containers, or raise the limit",
            )
        )
    return Pruned(layers=tuple(layers), cache=tuple(keys), size=freed)


_Step = Callable[[], tuple[int, tuple[Digest, ...], str]]


def _removable(store: Store) -> Iterator[_Step]:
    """Steps that each give some room back: how much, the layers that are gone, and the key of the record that is."""
    named = {chain for image in store.images.list() if image.reference for chain in image.chain_ids}
    folders = {chain: store.root / "layers" / chain.hex for chain in store.layers()}
    ages = {chain: (chain in named, _mtime(folder)) for chain, folder in folders.items()}

    def tree(chain: Digest) -> tuple[int, tuple[Digest, ...], str]:
        gone = store.images.drop([chain], lambda: held(store.root).layers)
        return gone.unpacked, gone.layers, ""

    def record(path: Path) -> tuple[int, tuple[Digest, ...], str]:
        path.unlink(missing_ok=True)
        gone = store.images.collect(doomed=lambda image: False)
        return gone.size + gone.unpacked, gone.layers, path.name

    def mount(cache: caches.CacheMount) -> tuple[int, tuple[Digest, ...], str]:
        (size,) = _measured(store, [cache.path])
        return (size, (), cache.path.name) if caches.remove(cache, store.worker) else (0, (), "")

    for chain in sorted(ages, key=lambda chain: ages[chain]):
        yield functools.partial(tree, chain)
    for _, path in sorted((_mtime(path), path) for path, _ in records.every(store.root)):
        yield functools.partial(record, path)
    for cache in sorted(caches.every(store.root), key=lambda cache: cache.used):
        yield functools.partial(mount, cache)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _taken(store: Store) -> int:
    blobs = 0
    for digest in store.content:
        with contextlib.suppress(NotFound):
            blobs += store.content.size(digest)
    trees = sum(unpacked.size(store.root / "layers" / chain.hex) for chain in store.layers())
    folders = [store.root / name for name in ("snapshots", "volumes", "cache") if (store.root / name).exists()]
    blobs += sum(part.size for part in parts.every(store.root))
    return blobs + trees + sum(_measured(store, folders))


def limit_of(environ: Mapping[str, str]) -> int | None:
    """The cap that $NBCONTAINERS_DISK_LIMIT sets, in bytes; None without it."""
    word = environ.get(LIMIT, "").strip()
    return options.size(word) if word else None
