"""What keeps a store small and whole: pruning, the count of what it takes, the cap on that, and the check of everything."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..build import caches, earlier, records
from ..errors import NBContainersError, NotFound
from ..events import Observer, Progress, ignore
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..results import Fault, Pruned, StoreCheck
from ..store import check as checking
from ..store import parts, unpacked
from ..store import repair as repairing
from ..store.garbage import Needed
from ..store.store import Store
from . import buildcache, inspect, userns
from .asked import NAME as ASKED
from .kinds import several
from .names import holder_of
from .selection import PRUNING, Selection, moment

if TYPE_CHECKING:
    from .container import Container

KINDS = ("containers", "images", "cache")
LIVE = ("running", "paused", "creating")
_INSTANT = 1.0  # seconds in which whoever makes or removes something is done with what shows, or holds a lease of it


# What containers need ---------------------------------------------------------------------------------------------------


def held(root: Path) -> Needed:
    """What the containers of a store's folder stand on, for the collector: images by ID, and layers."""
    images, layers = set[str](), set[str]()
    for container in _folders(root):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            images.add(str(json.loads((container / "state.json").read_bytes())["image_id"]))
        layers.update(parents(root, container.name))
        for image, chains in mounted(container):
            images.add(image)
            layers.update(chains)
    return Needed(images, layers)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / "containers").iterdir() if not path.name.startswith("."))


def written(store: Store, containers: Sequence[str]) -> tuple[int, ...]:
    """The bytes that containers, by their IDs, have written on top of their images."""
    return (
        store.worker.measure([str(unpacked.snapshot(Path(), key) / "upper") for key in containers])
        if containers
        else ()
    )


def parents(root: Path, key: str) -> tuple[str, ...]:
    """The layers that a snapshot was made on."""
    try:
        return tuple(json.loads((unpacked.snapshot(root, key) / "about").read_bytes())["parents"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return ()


def mounted(container: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(its ID, its layers) of each image that is mounted in the container of that folder; none where that cannot be read."""
    try:
        entries = json.loads((container / ASKED).read_bytes())["mounts"]
        return tuple((str(one["image"]), tuple(one.get("layers", ()))) for one in entries if one["kind"] == "image")
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return ()


def _below(root: Path, key: str) -> tuple[str, ...]:
    """The layers that a container's files are made of: those of its own image, and of those that are mounted in it."""
    others = (chain for _, chains in mounted(root / "containers" / key) for chain in chains)
    return tuple(dict.fromkeys((*parents(root, key), *others)))


def _standing(store: Store, containers: Iterable[Container]) -> dict[Digest, bool]:
    """The layers below containers; true where one of these runs."""
    found: dict[Digest, bool] = {}
    for container in containers:
        with contextlib.suppress(NotFound):
            runs = container.state.status in LIVE
            for chain in _below(store.root, container.id):
                found[Digest(chain)] = found.get(Digest(chain), False) or runs
    return found


# Pruning ----------------------------------------------------------------------------------------------------------------


def prune(
    store: Store,
    containers: Sequence[Container],
    *,
    kinds: Sequence[str] = KINDS,
    all: bool = False,
    filters: Sequence[str] = (),
) -> Pruned:
    """Remove what is not used; see ``Engine.prune``."""
    if unknown := [kind for kind in several("kinds", kinds) if kind not in (*KINDS, "networks", "volumes")]:
        hint = f"wanted: {', '.join(KINDS)}, networks or volumes"
        raise NBContainersError(f"nothing to prune is called {unknown[0]!r}", hint=hint)
    if tuple(kinds) == ("cache",):
        chosen = buildcache.selected(tuple(filters))
    else:
        chosen = Selection.parse(filters, (*PRUNING, "dangling") if tuple(kinds) == ("images",) else PRUNING)
        for word in chosen.get("until"):
            moment(word)  # or raises, before anything is gone
    named = all or chosen.truth("dangling") is False  # as in Docker: those that dangle are taken in any case
    gone, size = _containers(store, containers, chosen) if "containers" in kinds else ((), 0)
    _end_commands(store)
    _tidy(store)
    used = _image_ids(store)

    def doomed(image: Image) -> bool:
        if "images" not in kinds or (image.reference is not None and not named) or image.id in used():
            return False
        return chosen.is_before(inspect.created(image)) and chosen.has_labels(image.config.config.labels)

    collected = store.images.collect(doomed=doomed)
    size += collected.size + collected.unpacked
    if "images" in kinds and not chosen.get("label") and not chosen.get("label!"):
        size += drop_parts(store, min((moment(word) for word in chosen.get("until")), default=time.time()))
    keys: tuple[str, ...] = ()
    layers = collected.layers
    if "cache" in kinds and not chosen.get("label") and not chosen.get("label!"):
        keys = _cache(store, chosen, all=all)
        is_named = "exec.cachemount" in chosen.get("type") or bool(chosen.get("id"))
        mounts, freed = _cache_mounts(store, chosen) if all or is_named else ((), 0)
        keys, size = (*keys, *mounts), size + freed
        if keys:
            after = store.images.collect(doomed=lambda image: False)
            layers, size = (*layers, *after.layers), size + after.size + after.unpacked
    return Pruned(
        containers=gone,
        untagged=collected.untagged,
        images=collected.images,
        cache=keys,
        layers=layers,
        size=size,
    )


def _image_ids(store: Store) -> Callable[[], Set[str]]:
    """The images that containers hold, read once, when it is first asked for: nothing can get a name by then."""
    known: list[Set[str]] = []

    def ask() -> Set[str]:
        if not known:
            known.append(held(store.root).blobs)
        return known[0]

    return ask


def _containers(store: Store, containers: Sequence[Container], chosen: Selection) -> tuple[tuple[str, ...], int]:
    """Remove the containers that do not run; which they were, and what they had written."""
    doomed: list[Container] = []
    for container in containers:
        with contextlib.suppress(NBContainersError):
            state = container.state
            if state.status not in LIVE and chosen.is_before(state.created) and chosen.has_labels(dict(state.labels)):
                doomed.append(container)
    gone, size = [], 0
    taken = written(store, [container.id for container in doomed])
    for container, bytes_ in zip(doomed, taken, strict=True):
        with contextlib.suppress(NBContainersError):  # it was started or removed meanwhile
            container.remove()
            gone.append(container.id)
            size += bytes_
    return tuple(gone), size


def _end_commands(store: Store) -> None:
    """Have the commands of builds that were killed with their shims leave nothing: no process, cgroup or socket.

    Their states tell of these, and go with the snapshots of those builds.
    """
    from ..runtime.state import load_state

    for snapshot in (store.root / "snapshots").glob("build-*"):
        with contextlib.suppress(
            NBContainersError, OSError
        ):  # it runs no command just now, or is being made, or removed
            load_state(snapshot / f"{snapshot.name}-run")


def _tidy(store: Store) -> None:
    """Throw away what a killed process left of a container that it was making, names and ranges of ids of none, and what was put aside."""
    with store.leases.exclusive():
        busy = store.leases.names()
        for folder in _folders(store.root):
            if not (folder / "state.json").exists() and folder.name not in busy:
                _throw_away(store, folder)
        links = (*(store.root / "names").iterdir(), *(store.root / userns.RANGES).glob("*"))
        known = os.listdir(store.root / "containers")  # after the links, for a container is there before its name
        for link in links:
            if link.is_symlink() and not holder_of(link, known):
                link.unlink(missing_ok=True)
        _throw_away(store, store.root / repairing.QUARANTINE)
    store.volumes.sweep()


def drop_parts(store: Store, before: float) -> int:
    """Remove what pulls that ended before an instant have left half done, and say how many bytes it took."""
    with store.leases.exclusive():
        return parts.sweep(store.root, before=before)


def _throw_away(store: Store, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.rename(store.root / "trash" / secrets.token_hex(16))


def _cache(store: Store, chosen: Selection, *, all: bool) -> tuple[str, ...]:
    """Forget steps of builds: those whose layers no image has, or with ``all`` every one."""
    wanted = (
        frozenset[Digest]()
        if all
        else frozenset(layer.digest for image in store.images.list() for layer in image.layers)
    )
    gone = []
    for path, made in tuple(records.every(store.root)):
        with contextlib.suppress(FileNotFoundError):
            is_meant = buildcache.fits(chosen, "regular", path.name, path.stat().st_mtime)
            if is_meant and made.descriptor.digest not in wanted:
                path.unlink()
                gone.append(path.name)
    for spoilt in records.spoilt(store):
        spoilt.path.unlink(missing_ok=True)
    if all and not chosen.words:
        # Digests of files of contexts are made again when those are read.
        shutil.rmtree(store.root / "cache" / "digests", ignore_errors=True)
        earlier.forget(store.root)
    return tuple(gone)


def _cache_mounts(store: Store, chosen: Selection) -> tuple[tuple[str, ...], int]:
    """Remove the folders that RUN steps share, but for those that are in use; which they were, and what they took."""
    found = [
        cache
        for cache in caches.every(store.root)
        if buildcache.fits(chosen, "exec.cachemount", cache.path.name, cache.used)
    ]
    sizes = store.worker.measure([str(cache.path.relative_to(store.root)) for cache in found]) if found else ()
    gone = [
        (cache.path.name, size) for cache, size in zip(found, sizes, strict=True) if caches.remove(cache, store.worker)
    ]
    return tuple(name for name, _ in gone), sum(size for _, size in gone)


# The check --------------------------------------------------------------------------------------------------------------


def check(
    store: Store,
    containers: Sequence[Container],
    *,
    repair: bool = False,
    fetch: Callable[[Digest], bool] | None = None,
    on_event: Observer = ignore,
) -> StoreCheck:
    """Look at everything in a store, and with ``repair`` make again what can be; see ``Engine.check``."""
    if repair:
        sources = {} if fetch is None else {"fetch": fetch}
        found = repairing.repair(store, used=lambda: _standing(store, containers), on_event=on_event, **sources)
    else:
        found = checking.check(store, on_event=on_event)
    on_event(Progress(what="checking containers", done=0, total=len(containers)))
    cached = sum(1 for _ in records.every(store.root))
    faults = (*found.faults, *_cache_faults(store, repair), *_container_faults(store, containers, repair))
    return StoreCheck(
        blobs=found.blobs,
        size=found.size,
        tags=found.tags,
        images=found.images,
        layers=found.layers,
        cache=cached,
        containers=len(containers),
        faults=faults,
    )


def _cache_faults(store: Store, repair: bool) -> Iterator[Fault]:
    for spoilt in records.spoilt(store):
        if repair:
            spoilt.path.unlink(missing_ok=True)
        done = "forgotten: the step is executed again" if repair else ""
        yield Fault(kind="cache", name=spoilt.path.name, problem=spoilt.problem, repaired=done)


def _container_faults(store: Store, containers: Sequence[Container], repair: bool) -> Iterator[Fault]:
    """What is wrong with containers and their names, and stays so: what another process makes or removes looks spoilt for an instant."""
    deadline = time.monotonic() + _INSTANT
    found = [*_spoilt(store, containers), *_astray(store)]
    while found and time.monotonic() < deadline:
        time.sleep(_INSTANT / 10)
        again = {*_spoilt(store, containers), *_astray(store)}
        found = [fault for fault in found if fault in again]
    for fault in found:
        is_mended = repair and fault.kind == "name"
        if is_mended:
            (store.root / "names" / fault.name).unlink(missing_ok=True)
        yield replace(fault, repaired="taken away") if is_mended else fault


def _spoilt(store: Store, containers: Sequence[Container]) -> Iterator[Fault]:
    with store.leases.exclusive():
        busy = store.leases.names()
    for container in containers:
        if container.id not in busy:  # else it is being made, or removed
            for problem in _problems(store, container):
                yield Fault(kind="container", name=container.id, problem=problem)


def _astray(store: Store) -> Iterator[Fault]:
    links = sorted((store.root / "names").iterdir())
    known = os.listdir(store.root / "containers")  # after the links, for a container is there before its name
    for link in links:
        try:
            holder = holder_of(link, known)
        except FileNotFoundError:
            continue
        except OSError:  # it is no link
            holder = ""
        if not holder:
            yield Fault(kind="name", name=link.name, problem="is the name of no container")


def _problems(store: Store, container: Container) -> Iterator[str]:
    """What is wrong with a container: its state, its specification, its tree, or the layers below that."""
    from ..runtime.state import way_out

    try:
        state = container.state
    except NotFound:
        if (store.root / "containers" / container.id).exists():  # else it was removed
            yield "has no state: it was being made when its maker was killed, and 'nbcontainers prune' removes it"
        return
    if state.status == "dead":
        yield f"{state.error}; {way_out(state.name or container.id[:12])}"
        return
    try:
        _ = container.spec, container.asked, container.networks
    except (OSError, ValueError, KeyError, TypeError, NBContainersError) as error:
        yield f"has a specification that cannot be read: {error}"
    try:
        store.snapshots.mounts(container.id)
    except NBContainersError:
        yield f"has no tree of files any more: {way_out(state.name)}"
        return
    for chain in _below(store.root, container.id):
        if not unpacked.usable(store.root / "layers" / Digest(chain).hex):
            yield f"stands on the layer {Digest(chain).short}, which is not there"
