"""Random images as test data: the same seed gives the same image."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from dataclasses import replace

from nbcontainers.oci.descriptor import INDEX, LAYER_GZIP, Descriptor, Digest, Platform
from nbcontainers.oci.image import ContainerConfig, History, Image, ImageConfig, Index, to_bytes
from nbcontainers.oci.reference import Reference
from nbcontainers.store.store import Store


def random_layer(seed: int, files: int = 4) -> bytes:
    """An uncompressed tar of a few folders, files and links."""
    source = random.Random(seed)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(files):
            folder = tarfile.TarInfo(f"d{number}")
            folder.type, folder.mode = tarfile.DIRTYPE, source.choice([0o755, 0o700, 0o1777])
            archive.addfile(folder)
            file = tarfile.TarInfo(f"d{number}/f{source.randrange(1000)}")
            data = source.randbytes(source.randrange(3000))
            file.size, file.mode, file.mtime = len(data), 0o644, source.randrange(1 << 31)
            archive.addfile(file, io.BytesIO(data))
            link = tarfile.TarInfo(f"d{number}/link")
            link.type, link.linkname = tarfile.SYMTYPE, file.name
            archive.addfile(link)
    return out.getvalue()


def add_layer(store: Store, layer: bytes) -> tuple[Descriptor, Digest]:
    """Keep a layer, compressed, and return its descriptor and its diff ID."""
    return store.content.write(gzip.compress(layer, mtime=0), LAYER_GZIP), Digest.of(layer)


def random_image(
    store: Store, seed: int, *, layers: int = 2, shared: int = 0, created: str = "", platform: Platform | None = None
) -> Image:
    """An image without a tag; its first ``shared`` layers are those of every other random image."""
    written = [
        add_layer(store, random_layer(number if number < shared else seed * 100 + number)) for number in range(layers)
    ]
    config = ImageConfig(
        platform=platform or Platform.host(),
        created=created or f"2024-01-01T00:00:{seed % 60:02}Z",
        config=ContainerConfig(env=("PATH=/bin",), cmd=("sh",), labels={"seed": str(seed)}),
        diff_ids=tuple(diff_id for _, diff_id in written),
        history=(
            *(History(created_by=f"COPY {number} /") for number in range(layers)),
            History(created_by="CMD sh", empty_layer=True),
        ),
    )
    return store.images.create(config, [descriptor for descriptor, _ in written])


def several(store: Store, name: str, *platforms: Platform) -> tuple[Image, Descriptor]:
    """A name for an index with an image for each platform: the one for this host, and the index."""
    images = [random_image(store, 60 + number, shared=1, platform=one) for number, one in enumerate(platforms)]
    entries = tuple(replace(image.descriptor, platform=image.config.platform) for image in images)
    top = store.content.write(to_bytes(Index(manifests=entries)), INDEX)
    return store.images.tag(store.images.open(top), Reference.parse(name), top=top), top
