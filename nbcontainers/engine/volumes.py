"""Volumes of containers: named, filled from the image, mounted, listed and removed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Conflict, HostError, IntegrityError, NBContainersError, NotFound
from ..linux.mounts import SUBPATH
from ..oci.runtime import Mount
from ..results import VolumeState
from ..runtime import record
from ..runtime.mountplan import IDMAP
from ..store.store import Store
from . import imagemounts, inspect
from .asked import Asked
from .mounts import MountPoint
from .names import ContainerNames
from .selection import Selection


def inherited(words: Sequence[str], find: Callable[[str], Path]) -> tuple[MountPoint, ...]:
    """The mounts of ``--volumes-from NAME[:ro|rw]``: binds, volumes and images of other containers; ``find`` gives a container's folder."""
    found: dict[str, MountPoint] = {}
    for word in words:
        name, colon, mode = word.partition(":")
        if not name or (colon and mode not in ("ro", "rw")):
            raise NBContainersError(
                f"not a container to have volumes from: {word!r}", hint="write NAME, NAME:ro or NAME:rw"
            )
        for entry in Asked.load(find(name)).mounts:
            if entry.kind != "tmpfs":
                readonly = entry.readonly if not colon else mode == "ro"
                found[entry.destination] = replace(entry, readonly=readonly, nocopy=True, anonymous=False)
    return tuple(found.values())


def combined(own: Sequence[MountPoint], others: Sequence[MountPoint]) -> tuple[MountPoint, ...]:
    """All mounts, those of the others where nothing of one's own is; anonymous volumes have a name now; outer places come first."""
    places = {entry.destination for entry in own if entry.source or entry.kind == "tmpfs"}
    from_others = [entry for entry in others if entry.destination not in places]
    taken = {entry.destination for entry in from_others}
    whole = [*(entry for entry in own if entry.destination not in taken), *from_others]
    named = (
        replace(entry, source=secrets.token_hex(32), anonymous=True)
        if entry.kind == "volume" and not entry.source
        else entry
        for entry in whole
    )
    return tuple(sorted(named, key=lambda entry: entry.destination.count("/")))


def provide(
    store: Store, key: str, points: Iterable[MountPoint], rootfs: Sequence[Mount], *, is_mapped: bool = False
) -> tuple[Mount, ...]:
    """Make what the mounts of the container ``key`` need and return them for the specification: folders of the host, volumes filled
    from the image, other images.

    As in Docker a volume that is empty gets what the image has at its place, with owner and mode, unless ``nocopy``. With
    ``is_mapped`` the container has ids of its own: in volumes, and in binds with ``idmap``, they stand for those on the disk.
    """
    return tuple(
        imagemounts.mount(store, key, f"image-{number}", point, is_mapped=is_mapped)
        if point.kind == "image"
        else _provide(store, point, rootfs, is_mapped)
        for number, point in enumerate(points)
    )


def _provide(store: Store, point: MountPoint, rootfs: Sequence[Mount], is_mapped: bool) -> Mount:
    # A namespace's mounts can be made read-only all the way down; "ro" alone would leave what is mounted below writable.
    readonly = () if not point.readonly else ("ro",) if point.recursion in ("writable", "disabled") else ("rro",)
    if point.kind == "tmpfs":
        return Mount(destination=point.destination, type="tmpfs", source="tmpfs", options=point.options)
    if point.kind == "bind":
        _host_folder(point)
        depth = "bind" if point.recursion == "disabled" else "rbind"
        options = (depth, point.propagation, *readonly, *((IDMAP,) if point.idmap else ()))
        return Mount(destination=point.destination, type="bind", source=point.source, options=options)
    volume, made = store.volumes.create(point.source, labels=dict(point.labels), anonymous=point.anonymous)
    try:
        if not point.nocopy and not point.subpath:
            store.worker.fill_volume(rootfs, point.destination, Path(volume.path))
    except BaseException:
        if made:
            store.volumes.remove(volume.name, {})
        raise
    below = (f"{SUBPATH}={point.subpath}",) if point.subpath else ()
    options = ("rbind", "rprivate", *readonly, *below, *((IDMAP,) if is_mapped else ()))
    return Mount(destination=point.destination, type="bind", source=volume.path, options=options)


def _host_folder(point: MountPoint) -> None:
    if os.path.exists(point.source):
        return
    if not point.create:
        raise NotFound(
            f"bind source path does not exist: {point.source}", hint="make it first; -v makes a missing folder"
        )
    try:
        os.makedirs(point.source, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"the folder {point.source} is not there and cannot be made: {(error.strerror or '').lower()}",
            hint="make it first, or name another",
        ) from error


def users(names: ContainerNames, *, known: bool = False) -> Mapping[str, tuple[str, ...]]:
    """The containers (IDs), running or not, that have each volume.

    Raises:
        IntegrityError: it cannot be read what a container has; one is left out where only those that are ``known`` are asked for.
    """
    found: dict[str, tuple[str, ...]] = {}
    for identifier in names.ids():
        try:
            mounts = _mounts(names.folder(identifier))
        except IntegrityError:
            if known:
                continue
            raise
        for entry in mounts:
            if entry.kind == "volume":
                found[entry.source] = (*found.get(entry.source, ()), identifier)
    return found


def _mounts(folder: Path) -> tuple[MountPoint, ...]:
    """What a container has. One that is being made has no volumes where that is half written: with any, they lie locked until then."""
    try:
        return Asked.load(folder).mounts
    except IntegrityError:
        if not (folder / record.NAME).exists():
            return ()
        return Asked.load(folder).mounts  # it has been made just now, or is damaged


def listed(store: Store, names: ContainerNames) -> tuple[VolumeState, ...]:
    """Every volume, by name, with who has it."""
    having = users(names, known=True)
    return tuple(
        VolumeState(
            name=volume.name,
            path=volume.path,
            created=volume.created,
            labels=tuple(sorted(volume.labels.items())),
            anonymous=volume.anonymous,
            users=having.get(volume.name, ()),
        )
        for volume in store.volumes.list()
    )


def remove(store: Store, names: ContainerNames, name: str) -> None:
    """Remove one volume: Conflict where a container has it."""
    with store.volumes.exclusive():
        store.volumes.remove(name, users(names))


def forget(store: Store, names: ContainerNames, points: Iterable[MountPoint]) -> None:
    """Remove the anonymous volumes of a container that is gone, but for those that another has by now."""
    for entry in points:
        if entry.kind == "volume" and entry.anonymous:
            with contextlib.suppress(NotFound, Conflict, IntegrityError):  # what it is, prune finds out
                remove(store, names, entry.source)


def prune(
    store: Store, names: ContainerNames, chosen: Selection, *, everything: bool = False
) -> tuple[tuple[str, ...], int]:
    """Remove the chosen anonymous volumes (or all) that no container has: their names, and the bytes they took."""
    removed, size = [], 0
    with store.volumes.exclusive():
        having = users(names)
        for volume in store.volumes.list():
            fits = chosen.is_before(volume.created) and chosen.has_labels(volume.labels)
            if fits and (volume.anonymous or everything) and not having.get(volume.name):
                size += store.volumes.size(volume.name)
                store.volumes.remove(volume.name, having)
                removed.append(volume.name)
    return tuple(removed), size


def inspected(state: VolumeState) -> dict[str, Any]:
    """A volume by Docker's keys. Source: Docker Engine API 1.50, Volume."""
    return {
        "CreatedAt": inspect.moment(state.created),
        "Driver": "local",
        "Labels": dict(state.labels),
        "Mountpoint": state.path,
        "Name": state.name,
        "Options": {},
        "Scope": "local",
        "NBContainers": {"UsedBy": list(state.users), "Anonymous": state.anonymous},
    }
