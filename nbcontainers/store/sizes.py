"""How large the layers of an image are, as Docker counts: the bytes of their files, not of their compressed blobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import IntegrityError
from ..oci.descriptor import Descriptor
from ..oci.image import Image
from . import unpacked
from .compression import BLOCK, detect, reader
from .layers import bounds

if TYPE_CHECKING:
    from .store import Store

_HEAD = 6  # bytes that tell how a blob is compressed


def layers(store: Store, image: Image, *, most: int = 0) -> tuple[int, ...]:
    """The bytes of each layer's files, from the base up, as they were counted when it was unpacked.

    One that is not unpacked is as large as its tar, which is some per cent more; one that is damaged or not here, as it is stored. ``most``
    are the bytes of one that are counted at most; 0 for as many as are unpacked.
    """
    found = []
    for layer, chain in zip(image.layers, image.chain_ids, strict=True):
        folder = store.root / "layers" / chain.hex
        found.append(unpacked.size(folder) if unpacked.usable(folder) else _of_tar(store, layer, most))
    return tuple(found)


def _of_tar(store: Store, layer: Descriptor, most: int) -> int:
    """The size of a layer's tar: what gzip says at its end (RFC 1952, ISIZE, modulo 4 GiB), else counted, once.

    Of a blob of several gzip members the end tells the last one's size alone, and a zstd frame need not tell any.
    """
    try:
        with open(store.content.path(layer.digest), "rb", buffering=0) as blob:
            kind = detect(blob.read(_HEAD))
            if kind == "gzip":
                blob.seek(-4, os.SEEK_END)
                said = int.from_bytes(blob.read(4), "little")
                if said >= layer.size:
                    return said
    except (OSError, IntegrityError):
        return layer.size
    if kind == "none":
        return layer.size
    return store.images.counted(layer.digest, lambda: _count(store, layer, most)) or layer.size


def _count(store: Store, layer: Descriptor, most: int) -> int:
    """Uncompress a layer, no further than it would be unpacked, and count."""
    most, total = most or bounds(layer.size, os.environ).bytes, 0
    with store.content.open(layer.digest) as blob:
        archive = reader(blob)
        while piece := archive.read(BLOCK):
            total += len(piece)
            if total > most:
                raise IntegrityError(f"a layer of more than {most} bytes", hint="it would not be unpacked either")
    return total
