"""An image with its layers compressed in another way: the same files and configuration under another manifest."""

from __future__ import annotations

from dataclasses import replace

from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest
from ..oci.image import Image, Manifest, to_bytes
from . import imports
from .compression import MEDIA_TYPES, Compression, detect
from .layers import mistaken
from .store import Store


def image(store: Store, source: Image, kind: Compression, *, above: int = 0) -> Image:
    """The image with its layers compressed so, as an OCI image; the same image gives the same bytes.

    A layer that is compressed so is not compressed anew. What is made is not entered among the images, so it goes with the next
    collection once the caller's lease has ended.

    Args:
        store: holds the image.
        source: the image.
        kind: how its layers are to be compressed.
        above: how many layers, from the base up, stay as they are.

    Raises:
        NotFound: the store lacks a layer.
        IntegrityError: a layer is damaged, or not what the configuration says.

    """
    layers = list(source.layers[:above])
    for layer, diff_id in zip(source.layers[above:], source.config.diff_ids[above:], strict=True):
        layers.append(_layer(store, layer, diff_id, kind))
    manifest = Manifest(
        config=replace(source.manifest.config, media_type=CONFIG),
        layers=tuple(layers),
        annotations=source.manifest.annotations,
    )
    if manifest == source.manifest:
        return source
    descriptor = store.content.write(to_bytes(manifest), MANIFEST)
    return replace(source, descriptor=descriptor, manifest=manifest)


def _layer(store: Store, layer: Descriptor, diff_id: Digest, kind: Compression) -> Descriptor:
    with store.content.open(layer.digest) as blob:
        head = blob.read(6)
        if detect(head) == kind:
            return replace(layer, media_type=MEDIA_TYPES[kind])
        blob.seek(0)
        made, found = imports.layer(store.content, blob, compression=kind)
    if found != diff_id:
        raise mistaken(layer.digest, diff_id, found)
    return made


def parts(image: Image) -> set[Digest]:
    """The blobs that an image with other layers has and the one that it was made from may not have: its manifest and its layers."""
    return {image.descriptor.digest, *(layer.digest for layer in image.layers)}
