"""The images of several platforms that one name stands for: which of an index the store holds whole, and the one for a platform."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ..errors import IntegrityError, NotFound
from ..oci import platforms
from ..oci.descriptor import INDEXES, Descriptor, Platform
from ..oci.image import Image, Index, Manifest, parse
from .content import Content
from .store import Store


@dataclass(frozen=True, slots=True)
class Variants:
    """The entries of an index: those whose manifest and blobs are all in the store, with the manifest, and the others."""

    held: tuple[tuple[Descriptor, Manifest], ...]
    missing: tuple[Descriptor, ...]


def of_index(content: Content, index: Descriptor) -> Variants:
    """What the store has of an index.

    Raises:
        NotFound: it has not even the index.
        IntegrityError: a document is damaged.

    """
    held: list[tuple[Descriptor, Manifest]] = []
    missing: list[Descriptor] = []
    for entry in Index.from_json(parse(content.read(index.digest), f"index {index.digest}")).manifests:
        try:
            manifest = Manifest.from_json(parse(content.read(entry.digest), f"manifest {entry.digest}"))
            for blob in (manifest.config, *manifest.layers):
                content.size(blob.digest)
        except NotFound:
            missing.append(entry)
        else:
            held.append((entry, manifest))
    return Variants(tuple(held), tuple(missing))


def top(store: Store, image: Image) -> Descriptor:
    """What the image's name stands for in the store: the index that it was chosen from, or else its own manifest."""
    if image.reference is not None:
        with contextlib.suppress(NotFound):
            found = store.images.tags.read(image.reference).descriptor
            if found.media_type in INDEXES and store.images.open(found).descriptor == image.descriptor:
                return found
    return image.descriptor


def choose(store: Store, image: Image, platform: Platform) -> Image:
    """The image of the same name for exactly this platform: programs that would run there too are not what was asked for.

    Raises:
        NotFound: the name has none, or the store lacks it.

    """
    wanted = platforms.normal(platform)
    found = top(store, image)
    if found.media_type not in INDEXES:
        if platforms.normal(image.config.platform) != wanted:
            raise NotFound(
                f"{image.name} is here for {image.config.platform}, and {wanted} was asked for",
                hint=f"'nbcontainers pull --platform {wanted} NAME' brings it from its registry",
            )
        return image
    variants = of_index(store.content, found)
    chosen = platforms.exact((entry for entry, _ in variants.held), wanted)
    if chosen is not None:
        return store.images.open(chosen, image.reference)
    if platforms.exact(variants.missing, wanted) is not None:
        raise NotFound(
            f"of {image.name} the store has not the image for {wanted}",
            hint=f"'nbcontainers pull --platform {wanted} NAME' brings it from its registry",
        )
    entries = (*variants.missing, *(entry for entry, _ in variants.held))
    raise platforms.none_of(entries, wanted)


def of_entry(store: Store, entry: Descriptor, platform: Platform) -> Descriptor:
    """The manifest for exactly this platform that an entry of a layout's index is, or leads to.

    Raises:
        NotFound: there is none.
        IntegrityError: a document is damaged, or an index is in another one's index.

    """
    if entry.media_type not in INDEXES:
        own = store.images.open(entry).config.platform
        if platforms.normal(own) != platforms.normal(platform):
            raise platforms.none_of((Descriptor(media_type="", digest=entry.digest, size=0, platform=own),), platform)
        return entry
    index = Index.from_json(parse(store.content.read(entry.digest), f"index {entry.digest}"))
    chosen = platforms.exact(index.manifests, platform)
    if chosen is None:
        raise platforms.none_of(index.manifests, platform)
    if chosen.media_type in INDEXES:
        raise IntegrityError(f"an index of indexes: {entry.digest}", hint="it is in the archive that was read")
    return chosen
