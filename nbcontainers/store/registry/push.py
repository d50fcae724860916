"""An image goes to a registry: blobs that it lacks, then the manifest, byte for byte as the store has it, then the name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...events import Observer, Transfer, TransferFinished, TransferStarted, Warned
from ...oci.descriptor import INDEXES, Descriptor, Digest
from ...oci.image import Image, Manifest
from ...oci.reference import Reference
from .. import variants
from ..store import Store
from . import upload
from .origins import Origins
from .parallel import Tell, Transfers
from .repository import Repository

WIDTH = 5  # blobs at a time, as Docker has it


@dataclass(frozen=True, slots=True)
class _Parts:
    """What goes there: documents in the order in which the registry can take them (the last one gets the name), and blobs."""

    documents: tuple[Descriptor, ...]
    configs: tuple[Descriptor, ...]
    layers: tuple[Descriptor, ...]


def push(
    store: Store,
    repository: Repository,
    reference: Reference,
    image: Image,
    *,
    alone: bool = False,
    on_event: Observer,
) -> Descriptor:
    """Bring an image to a registry under a name; what is named there then is returned.

    A tag that stands for an index sends all of it if the store has every image in it, else this host's alone; with ``alone``
    nothing but this image goes there.

    Raises:
        NotFound: the store lacks a part of it.
        IntegrityError: a part is damaged here: it is not sent on.
        RegistryError: the registry refuses or cannot be reached.

    """
    on_event(TransferStarted(name=reference.familiar, direction="push"))
    with store.lease() as lease:
        top = image.descriptor if alone else variants.top(store, replace(image, reference=reference))
        lease.add(top.digest, image.descriptor.digest)
        parts = _parts(store, top, image, on_event)
        _blobs(store, repository, reference, image, parts, on_event)
        for document in parts.documents[:-1]:
            repository.put_manifest(document.digest, store.content.read(document.digest), document.media_type)
        last = parts.documents[-1]
        repository.put_manifest(reference.tag, store.content.read(last.digest), last.media_type)
        blobs = (*parts.documents, *parts.configs, *parts.layers)
        Origins(store.root).note((blob.digest for blob in blobs), reference.registry, repository.name)
    on_event(TransferFinished(name=reference.familiar, direction="push", digest=last.digest, size=last.size))
    return last


def _parts(store: Store, top: Descriptor, image: Image, on_event: Observer) -> _Parts:
    if top.media_type not in INDEXES:
        return _of([(image.descriptor, image.manifest)])
    found = variants.of_index(store.content, top)
    if not found.missing:
        parts = _of(found.held)
        return _Parts((*parts.documents, top), parts.configs, parts.layers)
    entries = (*(entry for entry, _ in found.held), *found.missing)
    images = [entry for entry in entries if entry.platform is None or entry.platform.os != "unknown"]
    # What BuildKit attests of an image is for no platform, and is not pulled.
    others = f"of {len(images)} in its index" if len(images) > 1 else "without what its index attests of it"
    on_event(
        Warned(
            message=f"only the image for {image.config.platform} is pushed, {others}",
            hint="the others are not in the store" if len(images) > 1 else "that is not in the store",
        )
    )
    return _of([(image.descriptor, image.manifest)])


def _of(held: Sequence[tuple[Descriptor, Manifest]]) -> _Parts:
    layers = {layer.digest: layer for _, manifest in held for layer in manifest.layers}
    return _Parts(
        tuple(descriptor for descriptor, _ in held),
        tuple({manifest.config.digest: manifest.config for _, manifest in held}.values()),
        tuple(layers.values()),
    )


def _blobs(
    store: Store, repository: Repository, reference: Reference, image: Image, parts: _Parts, on_event: Observer
) -> None:
    """Bring every blob there, or see that it is there already."""
    shown = dict(zip((layer.digest for layer in image.layers), image.config.diff_ids, strict=True))
    layers = {layer.digest for layer in parts.layers}
    origins = Origins(store.root)
    for layer in parts.layers:
        on_event(Transfer(layer=shown.get(layer.digest, layer.digest), phase="waiting", total=layer.size))

    def move(blob: Descriptor, tell: Tell) -> None:
        sources = [name for name in origins.of(blob.digest, reference.registry) if name != repository.name]
        quiet = blob.digest not in layers
        name: Digest = shown.get(blob.digest, blob.digest)
        upload.blob(repository, store.content, blob, sources, name, repository.only_waits(tell) if quiet else tell)

    blobs = (*parts.layers, *parts.configs)
    connections = repository.registry.connections
    with Transfers(blobs, move, width=WIDTH, connections=connections, on_event=on_event) as transfers:
        for blob in blobs:
            transfers.wait(blob.digest)
