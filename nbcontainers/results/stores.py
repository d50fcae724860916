"""What a store holds, what was removed from it, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..oci.descriptor import Digest

CacheKind = Literal["regular", "exec.cachemount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the collector removed: images by ID, blobs by digest, unpacked layers by chain ID, names as Docker shows them.

    ``size`` is that of the blobs, ``unpacked`` that of the layers' files.
    """

    images: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()
    layers: tuple[Digest, ...] = ()
    size: int = 0
    unpacked: int = 0
    untagged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What ``prune`` removed: containers by ID, names and images, records of the build cache by key, unpacked layers by chain ID.

    ``size`` is all the room that it gave back, in bytes.
    """

    containers: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    images: tuple[Digest, ...] = ()
    cache: tuple[str, ...] = ()
    layers: tuple[Digest, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """One thing of the build cache: the layer of a step, or a folder that RUN steps share.

    ``size`` is in bytes, ``used`` the last time in seconds since the epoch; an image has the layer too of what is ``shared``.
    """

    id: str
    kind: CacheKind
    description: str
    size: int
    used: float
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What one kind of thing takes of the disk: how many there are, how many are used, and the bytes of all and of the unused."""

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something of a store that is not as it should be.

    ``kind`` is blob, image, tag, layer, index, cache, container or name; ``images`` are the names (or IDs) of the images that it
    hurts. ``repaired`` says what was done about it, and is empty if nothing was; where what these images need could not be made
    again, ``is_lost`` is true.
    """

    kind: str
    name: str
    problem: str
    images: tuple[str, ...] = ()
    repaired: str = ""
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """What a check of a whole store looked at, and what it found."""

    blobs: int
    size: int
    tags: int
    images: int
    layers: int
    cache: int
    containers: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeState:
    """A volume: where its files lie, and which containers (IDs) have it, running or not."""

    name: str
    path: str
    created: float
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    users: tuple[str, ...] = ()
