"""How large the layers of an image are, as Docker counts: the bytes of their files, not of their compressed blobs."""

from __future__ import annotations

import os
from pathlib import Path

import zstandard

from ..errors import IntegrityError
from ..oci.descriptor import Descriptor
from ..oci.image import Image
from . import unpacked
from .compression import detect
from .content import Content

_HEAD = 18  # bytes of the longest header of a zstd frame: RFC 8878, 3.1.1.1


def layers(root: Path, content: Content, image: Image) -> tuple[int, ...]:
    """The bytes of each layer's files, from the base up, as they were counted when it was unpacked.

    One that is not unpacked is as large as its blob says that its tar is, which is some per cent more; one whose blob says nothing,
    or is not here, as it is stored.
    """
    found = []
    for layer, chain in zip(image.layers, image.chain_ids, strict=True):
        folder = root / "layers" / chain.hex
        found.append(unpacked.size(folder) if unpacked.usable(folder) else _announced(content, layer))
    return tuple(found)


def _announced(content: Content, layer: Descriptor) -> int:
    """What a blob says of its size uncompressed: gzip at its end (RFC 1952, ISIZE, modulo 4 GiB), zstd at its beginning."""
    try:
        with open(content.path(layer.digest), "rb", buffering=0) as blob:
            head = blob.read(_HEAD)
            kind = detect(head)
            if kind == "gzip":
                blob.seek(-4, os.SEEK_END)
                said = int.from_bytes(blob.read(4), "little")
            else:
                said = zstandard.frame_content_size(head) if kind == "zstd" else 0
    except (OSError, IntegrityError, zstandard.ZstdError):
        return layer.size
    return max(said, layer.size)  # of a blob of several members it is the last one's alone
