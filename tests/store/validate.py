"""Is an image whole? Every digest, size and count of it is looked at, the layers' diff IDs on their uncompressed bytes."""

from __future__ import annotations

import gzip
import hashlib
import io

import zstandard

from nbcontainers.oci.descriptor import Digest
from nbcontainers.oci.image import Image, to_bytes
from nbcontainers.store.store import Store


def uncompressed(data: bytes) -> bytes:
    """The bytes of a layer, whatever it is compressed with."""
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            return reader.read()
    return data


def validate(store: Store, image: Image) -> None:
    """Fail with the first thing about the image that is not as the OCI image specification wants it."""
    for descriptor in (image.descriptor, image.manifest.config, *image.layers):
        path = store.content.path(descriptor.digest)
        data = path.read_bytes()
        assert len(data) == descriptor.size, descriptor
        assert hashlib.new(descriptor.digest.algorithm, data).hexdigest() == descriptor.digest.hex, descriptor
        assert path.stat().st_mode & 0o777 == 0o444, path
    assert image.id == image.manifest.config.digest
    assert len(image.config.diff_ids) == len(image.layers) == len(image.chain_ids)
    for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
        assert Digest.of(uncompressed(store.content.path(layer.digest).read_bytes())) == diff_id, layer
    if image.config.history:
        assert sum(1 for line in image.config.history if not line.empty_layer) == len(image.layers)
    assert store.images.open(image.descriptor, image.reference) == image
    assert type(image.manifest).from_json(image.manifest.to_json()) == image.manifest
    assert to_bytes(image.config)


def validate_store(store: Store) -> None:
    """Every blob is what its name says, every tag names a whole image, and nothing half-made is left."""
    for digest in store.content:
        data = store.content.path(digest).read_bytes()
        assert hashlib.new(digest.algorithm, data).hexdigest() == digest.hex
    assert store.images.tags.damaged() == ()
    for tag in store.images.tags:
        validate(store, store.images.resolve(str(tag.reference)))
    store.rubbish.close()  # as the store does when it is closed
    for folder in ("ingest", "trash", "leases"):
        assert list((store.root / folder).iterdir()) == [], folder
