"""Manifests of our own kinds at a registry: a small configuration that says what they are, and layers."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import IntegrityError
from ...events import Observer, Transfer, TransferFinished, TransferStarted
from ...oci import platforms
from ...oci.descriptor import MANIFEST, Descriptor, Digest, Platform
from ...oci.image import Index, Manifest, to_bytes
from ...oci.reference import Reference
from ..store import Store
from . import session, upload
from .parallel import Tell, Transfers
from .push import WIDTH
from .repository import Repository


def manifest(repository: Repository, reference: Reference) -> Manifest:
    """The manifest of a name; of several platforms this host's.

    Raises:
        RegistryError: there is none, or it is not given.
        IntegrityError: it is not what was announced.
        NotFound: none of several is this host's.

    """
    value = repository.manifest(reference.digest or reference.tag).value
    if isinstance(value, Index):
        entry = platforms.choose(value.manifests, Platform.host())
        value = repository.manifest(entry.digest).value
    if isinstance(value, Index):
        raise IntegrityError(f"an index of indexes at {reference.familiar}", hint="name one of them by its digest")
    return value


def configuration(repository: Repository, wanted: Descriptor, limit: int) -> bytes:
    """The bytes of a manifest's configuration, verified; IntegrityError if they are not those, or too many."""
    if wanted.size > limit:
        raise IntegrityError(f"a configuration of {wanted.size} bytes, where {limit} are taken", hint="not trusted")
    with repository.blob(repository.places[-1], wanted.digest, 0, lambda seconds: None) as response:
        data = session.read(response, wanted.size, f"blob {wanted.digest}")
    if (actual := Digest.of(data)) != wanted.digest:
        raise IntegrityError(
            f"the configuration {wanted.digest} has other bytes",
            expected=wanted.digest,
            actual=actual,
            hint="the registry, or something before it, lies: nothing of it was kept",
        )
    return data


def put(
    store: Store,
    repository: Repository,
    reference: Reference,
    config: tuple[str, bytes],
    layers: Sequence[Descriptor],
    *,
    on_event: Observer,
) -> Digest:
    """Bring a configuration (its media type and bytes) and layers of the store to a registry, under a tag.

    Raises:
        NotFound: the store lacks a layer.
        IntegrityError: a layer is damaged here: it is not sent on.
        RegistryError: the registry refuses or cannot be reached.

    """
    on_event(TransferStarted(name=reference.familiar, direction="push"))
    with store.lease():
        described = store.content.write(config[1], config[0])
        value = to_bytes(Manifest(config=described, layers=tuple(layers)))
        for layer in layers:
            on_event(Transfer(layer=layer.digest, phase="waiting", total=layer.size))

        def move(blob: Descriptor, tell: Tell) -> None:
            quiet = blob.digest == described.digest
            upload.blob(
                repository, store.content, blob, (), blob.digest, repository.only_waits(tell) if quiet else tell
            )

        blobs = (*layers, described)
        connections = repository.registry.connections
        with Transfers(blobs, move, width=WIDTH, connections=connections, on_event=on_event) as transfers:
            for blob in blobs:
                transfers.wait(blob.digest)
    repository.put_manifest(reference.tag, value, MANIFEST)
    digest = Digest.of(value)
    on_event(TransferFinished(name=reference.familiar, direction="push", digest=digest, size=len(value)))
    return digest
