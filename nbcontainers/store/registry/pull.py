"""An image comes from a registry: its documents first, then its layers, unpacked from the base up while others still come."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import HostError, IntegrityError, NBContainersError, NotFound, RegistryError
from ...events import Event, Observer, Progress, Transfer, TransferFinished, TransferStarted, Warned
from ...oci import platforms
from ...oci.descriptor import INDEXES, Descriptor, Digest, Platform
from ...oci.image import Image, Index
from ...oci.reference import Reference
from .. import garbage
from ..catalogue import pick
from ..store import Store
from . import documents, download
from .documents import Document
from .origins import Origins
from .parallel import Transfers
from .repository import Repository

WIDTH = 3  # blobs at a time, as Docker has it
MOST_LAYERS = 1000
MOST_BYTES = 1 << 38  # as of an archive
_FOREIGN = re.compile("foreign|nondistributable")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a name stands for: the image's manifest, and the index that it was chosen from, if any."""

    manifest: Document
    index: Document | None

    @property
    def top(self) -> Document:
        return self.index or self.manifest


def pull(
    store: Store, repository: Repository, reference: Reference, *, platform: Platform | None, on_event: Observer
) -> Image:
    """Bring an image into the store and give it its name. What is here already does not come again.

    Args:
        store: holds a lease of its own meanwhile.
        repository: where it is.
        reference: its name; by a digest alone it gets that as its name.
        platform: which of several; None for this host's.
        on_event: told in this thread of each layer.

    Raises:
        NotFound: it is not for this platform.
        IntegrityError: something is not what its digest and size say, or is hostile.
        RegistryError: the registry refuses or cannot be reached.
        HostError: the disk is full; what came is gone. After other errors what came whole stays, for the next try.

    """
    new: set[str] = set()
    try:
        found, image, fresh = _bring(store, repository, reference, platform, new, on_event)
    except HostError:  # a full disk, most often: what is whole is not worth its room there
        with contextlib.suppress(NBContainersError):
            store.images.collect(only=new)
        raise
    on_event(
        TransferFinished(
            name=reference.familiar,
            direction="pull",
            digest=found.top.descriptor.digest,
            size=found.top.descriptor.size,
            fresh=fresh,
        )
    )
    return image


def _bring(
    store: Store,
    repository: Repository,
    reference: Reference,
    platform: Platform | None,
    new: set[str],
    on_event: Observer,
) -> tuple[_Found, Image, bool]:
    """Do it: what was found, the image by its name, and whether anything changed. ``new`` are blobs and layers that were not here."""
    with store.lease():
        found = _find(repository, reference, platform)
        on_event(TransferStarted(name=reference.familiar, direction="pull"))
        image = _documents(store, repository, found, new, on_event)
        if found.index is None:  # else that has said which platform it is for
            _check_platform(image, platform, on_event)
        known = _stands_for(store, reference)
        fresh = _layers(store, repository, image, new, on_event)
        store.images.add(found.manifest.descriptor)
        named = _whole(found, platform)
        image = store.images.name(replace(image, descriptor=found.manifest.descriptor), reference, named)
        blobs = (found.top.descriptor.digest, image.descriptor.digest, image.id, *(one.digest for one in image.layers))
        Origins(store.root).note(blobs, reference.registry, repository.name)
    return found, image, fresh or known != named


def _find(repository: Repository, reference: Reference, platform: Platform | None) -> _Found:
    """The manifest that a name stands for on a platform."""
    top = repository.manifest(reference.digest or reference.tag)
    if not isinstance(top.value, Index):
        return _Found(top, None)
    entry = platforms.choose(top.value.manifests, platform or Platform.host())
    manifest = repository.manifest(entry.digest)
    if isinstance(manifest.value, Index) and entry.media_type in INDEXES:
        raise NotFound(
            f"{reference.familiar} is an index of indexes", hint=f"name one of them: {reference.name}@{entry.digest}"
        )
    if manifest.descriptor.size != entry.size or isinstance(manifest.value, Index):
        raise IntegrityError(
            f"the manifest {entry.digest} is not what the index says of it",
            expected=f"{entry.media_type}, {entry.size} bytes",
            actual=f"{manifest.descriptor.media_type}, {manifest.descriptor.size} bytes",
        )
    return _Found(manifest, top)


def _documents(store: Store, repository: Repository, found: _Found, new: set[str], on_event: Observer) -> Image:
    """The image of a manifest, once its configuration is here; it may still lack its layers."""
    manifest = found.manifest.value
    assert not isinstance(manifest, Index)
    config = manifest.config
    if manifest.artifact:
        raise RegistryError(
            f"{repository.name} holds no image here but an artifact of the type {manifest.artifact[:100]}",
            hint="only images can be pulled: the program that made it, or oras, fetches it",
        )
    size = sum(layer.size for layer in manifest.layers)
    if config.size > documents.LIMIT or len(manifest.layers) > MOST_LAYERS or size > MOST_BYTES:
        raise IntegrityError(
            f"an image of {len(manifest.layers)} layers with {size} bytes and a configuration of {config.size}",
            hint=f"at most {MOST_LAYERS} layers, {MOST_BYTES} and {documents.LIMIT} bytes are taken",
        )
    parts = (found.top.descriptor, found.manifest.descriptor, config)
    new.update(document.digest for document in parts if not _here(store, document))
    for document in (found.index, found.manifest):
        if document is not None:
            _keep(store, document)
    store.content.leases.protect(config.digest)
    if not _is_whole(store, config):
        download.blob(repository, store.content, config, repository.only_waits(on_event))
    return store.images.open(found.manifest.descriptor)


def _keep(store: Store, document: Document) -> None:
    """Write a document, over a damaged one too."""
    wanted = document.descriptor
    store.content.leases.protect(wanted.digest)
    if not _is_whole(store, wanted):
        with store.content.ingest(algorithm=wanted.digest.algorithm) as ingest:
            ingest.write(document.data)
            ingest.commit(wanted.media_type, wanted)


def _is_whole(store: Store, blob: Descriptor) -> bool:
    """True if a small blob is here and undamaged."""
    with contextlib.suppress(NotFound, IntegrityError):
        return len(store.content.read(blob.digest)) == blob.size
    return False


def _here(store: Store, blob: Descriptor) -> bool:
    with contextlib.suppress(NotFound):
        return store.content.size(blob.digest) == blob.size
    return False


def _check_platform(image: Image, platform: Platform | None, on_event: Observer) -> None:
    """An image that has only one platform is taken for it if nobody asked for another."""
    own = platforms.normal(image.config.platform)
    if own in platforms.usable(platform or Platform.host()):
        return
    if platform is not None:
        raise NotFound(
            f"the image is for {own}, and {platforms.normal(platform)} was asked for", hint="it has no other platform"
        )
    on_event(Warned(message=f"the image is for {own}, and this host is {Platform.host()}", hint="it may not run here"))


def _layers(store: Store, repository: Repository, image: Image, new: set[str], on_event: Observer) -> bool:
    """Bring and unpack all layers, and say whether any had to come; nothing half made is left, and what is whole stays."""
    unique = {layer.digest: layer for layer in image.layers}
    store.content.leases.protect(*unique)
    missing = [layer for layer in unique.values() if not _here(store, layer)]
    away = {layer.digest for layer in missing}
    new.update(away, (chain for chain in image.chain_ids if not (store.root / "layers" / chain.hex).exists()))
    for layer in unique.values():
        on_event(Transfer(layer=layer.digest, phase="waiting" if layer.digest in away else "exists", total=layer.size))
    width, connections = WIDTH, repository.registry.connections

    def move(wanted: Descriptor, tell: Callable[[Event], object]) -> None:
        try:
            download.blob(repository, store.content, wanted, tell)
        except RegistryError as error:
            if error.status != 404 or not _FOREIGN.search(wanted.media_type):
                raise
            raise RegistryError(
                f"the layer {wanted.digest} is not in the registry: {repository.name} says that it is kept elsewhere",
                status=404,
                hint="layers come from registries only, never from addresses that a manifest names",
            ) from error

    with Transfers(missing, move, width=width, connections=connections, on_event=on_event) as transfers:
        for depth, layer in enumerate(image.layers, 1):
            if layer.digest in away:
                transfers.wait(layer.digest)
            try:
                _unpack(store, image, depth, transfers, on_event, told=layer.digest in away)
            except IntegrityError:
                if layer.digest in away:
                    raise
                move(layer, on_event)  # what was here has been damaged
                _unpack(store, image, depth, transfers, on_event, told=True)
    return bool(missing)


def _unpack(store: Store, image: Image, depth: int, transfers: Transfers, on_event: Observer, *, told: bool) -> None:
    layer = image.layers[depth - 1]

    def tell(event: Event) -> None:
        transfers.drain()
        if isinstance(event, Progress):
            event = Transfer(layer=layer.digest, phase="extracting", done=event.done, total=event.total)
        on_event(event)

    store.snapshots.unpack(image, tell, depth=depth)
    if told:
        on_event(Transfer(layer=layer.digest, phase="pulled", done=layer.size, total=layer.size))


def _whole(found: _Found, platform: Platform | None) -> Descriptor:
    """What a name is to stand for: the index where this host would choose the same image from it, so that its digest lives on."""
    if found.index is None or not isinstance(found.index.value, Index):
        return found.manifest.descriptor
    if platform is not None:
        try:
            if pick(found.index.value, Platform.host()).digest != found.manifest.descriptor.digest:
                return found.manifest.descriptor
        except NotFound:
            return found.manifest.descriptor
    return found.index.descriptor


def _stands_for(store: Store, reference: Reference) -> Descriptor | None:
    """What the name stands for by now."""
    try:
        return store.images.tags.read(reference).descriptor
    except NBContainersError:
        return None


def restore(store: Store, repository: Repository, digest: Digest) -> bool:
    """Bring a blob that the store lacks or has damaged from where it was; False if it is not there any more."""
    wanted = _descriptor(store, digest)
    with store.lease(), contextlib.suppress(RegistryError, IntegrityError):
        if wanted is not None:
            download.blob(repository, store.content, wanted, lambda event: None)
            return True
        document = repository.manifest(digest)
        return store.content.write(document.data, document.descriptor.media_type).digest == digest
    return False


def _descriptor(store: Store, digest: Digest) -> Descriptor | None:
    """What some manifest says of a blob; None if none speaks of it, so it is a manifest or nothing that is needed."""
    for manifest in garbage.documents(store.content).manifests.values():
        for blob in (manifest.config, *manifest.layers):
            if blob.digest == digest:
                return blob
    return None
