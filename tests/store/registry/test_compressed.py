"""Layers go to a registry compressed as was asked; skopeo reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbcontainers.engine import registries
from nbcontainers.events import ignore
from nbcontainers.oci.descriptor import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Digest
from nbcontainers.oci.reference import Reference
from nbcontainers.store.compression import Compression
from nbcontainers.store.store import Store
from tests.store.registry.conftest import Registry
from tests.store.registry.test_registry import needs_skopeo, other, pull, skopeo, tagged
from tests.store.validate import validate

__all__ = ["other"]


@needs_skopeo
@pytest.mark.parametrize(("kind", "media_type"), [("zstd", LAYER_ZSTD), ("gzip", LAYER_GZIP), ("none", LAYER_TAR)])
def test_every_layer_is_compressed_as_was_asked(
    store: Store, other: Store, registry: Registry, tmp_path: Path, kind: Compression, media_type: str
) -> None:
    """The image ID stays, twice gives the same digest, and what is pulled is whole; nothing is left here."""
    name = f"{registry.host}/compressed/{kind}:1"
    image = tagged(store, 60, name, layers=2)
    before = set(store.content)
    names = (Reference.parse(name),)
    sent = [registries.push(store, names, compression=kind, insecure=False, on_event=ignore) for _ in range(2)]
    assert sent[0] == sent[1]
    assert set(store.content) == before
    back = pull(other, name)
    assert (back.id, back.descriptor.digest) == (image.id, sent[0][0])
    assert {layer.media_type for layer in back.layers} == {media_type}
    validate(other, back)
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copy")
    assert Digest.of((tmp_path / "copy/manifest.json").read_bytes()) == sent[0][0]
