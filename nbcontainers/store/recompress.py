"""An image with its layers compressed in another way: the same files and configuration under another manifest."""

from __future__ import annotations

from dataclasses import replace

from ..errors import IntegrityError
from ..oci.descriptor import CONFIG, MANIFEST, Descriptor
from ..oci.image import Image, Manifest, to_bytes
from . import imports
from .compression import Compression
from .store import Store


def image(store: Store, source: Image, kind: Compression) -> Image:
    """The image with every layer compressed so, as an OCI image; the same image gives the same bytes.

    It is not entered among the images, so it goes with the next collection once the caller's lease has ended.

    Raises:
        NotFound: the store lacks a layer.
        IntegrityError: a layer is damaged, or not what the configuration says.

    """
    layers: list[Descriptor] = []
    for layer, diff_id in zip(source.layers, source.config.diff_ids, strict=True):
        with store.content.open(layer.digest) as blob:
            made, found = imports.layer(store.content, blob, compression=kind)
        if found != diff_id:
            raise IntegrityError(
                f"the layer {layer.digest} is not what its image says",
                expected=diff_id,
                actual=found,
                hint="load or pull the image again",
            )
        layers.append(made)
    manifest = Manifest(
        config=replace(source.manifest.config, media_type=CONFIG),
        layers=tuple(layers),
        annotations=source.manifest.annotations,
    )
    descriptor = store.content.write(to_bytes(manifest), MANIFEST)
    return replace(source, descriptor=descriptor, manifest=manifest)
