"""The build cache as it leaves a store and comes to another: records of steps, each with its layer.

Such a cache is an image manifest: its layers are those of the steps, its configuration is the list of records. An image may
carry the records of its own layers in an annotation instead (*inline*). Our keys are our own, so it is no other builder's cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import IntegrityError, NotFound, RegistryError
from ..events import Observer, Warned
from ..oci.descriptor import DOCKER_LAYER_GZIP, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Descriptor, Digest
from ..oci.image import Manifest
from ..store.store import Store
from .layers import Tree
from .records import Made

CONFIG_TYPE = "application/vnd.nbcontainers.buildcache.v1+json"
ANNOTATION = "nbcontainers.buildcache.v1"
LIMIT = 16 << 20  # bytes of a list of records
_LAYERS = frozenset({LAYER_TAR, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER_GZIP})
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What a step made, as it is told elsewhere: its keys, its layer, the layer's diff ID, and when (RFC 3339)."""

    keys: tuple[Digest, ...]
    layer: Descriptor
    diff_id: Digest
    created: str


class Place(Protocol):
    """A cache that is not the store's."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def records(self) -> Mapping[Digest, Shared]:
        """What it has, by the keys of steps."""

    def bring(self, layer: Descriptor, on_event: Observer) -> None:
        """Bring a layer's blob into the store, verified against its digest and size.

        Raises:
            NotFound: it is not there.
            IntegrityError: it is another one than the cache says.
            RegistryError: it cannot be had.

        """


class Sharing:
    """What a build takes from caches elsewhere, and what it has for them: the records of all steps by their nodes' indexes."""

    def __init__(self, places: Sequence[Place] = (), *, inline: bool = False, leaves: bool = False) -> None:
        """``inline`` puts the records of the image's own layers into it; ``leaves`` where they go elsewhere too."""
        self.inline = inline
        self.is_asked = bool(places) or inline or leaves
        self.all: dict[int, Shared] = {}
        self.own: tuple[int, ...] = ()  # those whose layers are the image's
        self._places = tuple(places)

    def find(self, keys: Sequence[Digest]) -> Iterator[tuple[Place, Shared]]:
        """What other caches have for a step."""
        for place in self._places:
            found = next((place.records[key] for key in keys if key in place.records), None)
            if found is not None:
                yield place, found

    def note(self, index: int, keys: Sequence[Digest], made: Made) -> None:
        """Keep what a step made, for caches elsewhere."""
        self.all[index] = Shared(keys=tuple(keys), layer=made.descriptor, diff_id=made.diff_id, created=made.created)

    def annotations(self, layers: Sequence[Descriptor]) -> dict[str, str]:
        """What the image's manifest says of its own steps; nothing unless it is to."""
        if not self.inline:
            return {}
        rows = _rows([self.all[index] for index in self.own if index in self.all], layers)
        return {ANNOTATION: json.dumps(rows, separators=(",", ":"))}


def bring(store: Store, place: Place, shared: Shared, below: Tree, on_event: Observer) -> Made | None:
    """The layer of another cache, once it is here, unpacked and verified; None, with a warning, where it is not what it should be."""
    store.leases.protect(shared.layer.digest)
    try:
        if not store.content.has(shared.layer.digest):
            place.bring(shared.layer, on_event)
        made = Made(descriptor=shared.layer, diff_id=shared.diff_id, chain_id=shared.diff_id, created=shared.created)
        tree = below.with_layer(made)
        store.snapshots.unpack(tree.image(), on_event)
    except (IntegrityError, NotFound, RegistryError) as error:
        message = f"the cache {place.name} is of no use for this step: {error.message}"
        on_event(Warned(message=message, hint="the step is executed instead"))
        return None
    return Made(descriptor=shared.layer, diff_id=shared.diff_id, chain_id=tree.chain_id, created=shared.created)


def to_config(records: Sequence[Shared]) -> tuple[bytes, tuple[Descriptor, ...]]:
    """The configuration of a cache's manifest, and its layers."""
    layers = tuple({record.layer.digest: record.layer for record in records}.values())
    data = json.dumps({"mediaType": CONFIG_TYPE, "records": _rows(records, layers)}, separators=(",", ":"))
    return data.encode(), layers


def from_config(manifest: Manifest, data: bytes) -> dict[Digest, Shared]:
    """The records of a cache, by their keys: IntegrityError if they are none."""
    try:
        return _records(json.loads(data)["records"], manifest.layers)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"not the records of a build cache: {error}", hint="let it be written anew") from error


def from_image(manifest: Manifest) -> dict[Digest, Shared]:
    """The records that an image carries of its own layers; none where it carries none. IntegrityError as of ``from_config``."""
    text = manifest.annotations.get(ANNOTATION, "")
    return from_config(manifest, b'{"records":%s}' % text.encode()) if text else {}


def _rows(records: Sequence[Shared], layers: Sequence[Descriptor]) -> list[dict[str, Any]]:
    places = {layer.digest: number for number, layer in enumerate(layers)}
    return [
        {
            "keys": list(record.keys),
            "layer": places[record.layer.digest],
            "diff_id": record.diff_id,
            "created": record.created,
        }
        for record in records
    ]


def _records(rows: Any, layers: Sequence[Descriptor]) -> dict[Digest, Shared]:
    found: dict[Digest, Shared] = {}
    for row in rows:
        layer, created = layers[int(row["layer"])], str(row["created"])
        if layer.media_type not in _LAYERS or not _INSTANT.fullmatch(created):
            raise ValueError(f"a layer of the type {layer.media_type!r:.80}, made {created!r:.40}")
        keys = tuple(Digest(key) for key in row["keys"])
        shared = Shared(keys=keys, layer=layer, diff_id=Digest(row["diff_id"]), created=created)
        found |= dict.fromkeys(keys, shared)
    return found
