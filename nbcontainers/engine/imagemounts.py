"""Images that are mounted in containers of other images: ``--mount type=image``, which can only be read, as in Docker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..errors import NotFound
from ..linux.mounts import SUBPATH
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..oci.runtime import Mount
from ..runtime.mountplan import IDMAP
from ..store.store import Store
from .mounts import MountPoint


def found(
    points: Sequence[MountPoint], find: Callable[[str], Image]
) -> tuple[tuple[MountPoint, ...], tuple[Image, ...]]:
    """(the mounts, with what the names of images stand for now; those images). As in Docker nothing is pulled for them.

    Raises:
        NotFound: there is no such image here.
    """
    named: list[MountPoint] = []
    images: list[Image] = []
    for point in points:
        if point.kind != "image":
            named.append(point)
            continue
        image = _image(point, find)
        images.append(image)
        named.append(replace(point, image=str(image.id), layers=tuple(map(str, image.chain_ids))))
    return tuple(named), tuple(images)


def _image(point: MountPoint, find: Callable[[str], Image]) -> Image:
    try:
        return find(point.image or point.source)  # that of another container stays what it was there
    except NotFound as error:
        raise NotFound(
            f"{error.message}; it is to be mounted on {point.destination}",
            hint=f"'nbcontainers pull {point.source}' brings it: only the image of the container itself is pulled unasked",
        ) from error


def needed(images: Iterable[Image]) -> tuple[Digest, ...]:
    """What is not to be collected while they are mounted: each image, and its layers."""
    return tuple(name for image in images for name in (image.id, image.descriptor.digest, *image.chain_ids))


def mount(store: Store, key: str, name: str, point: MountPoint, *, is_mapped: bool) -> Mount:
    """The mount of an image for the specification of the container ``key``, with whose snapshot all goes that is made for it."""
    tree = store.snapshots.beside(key, name, [Digest(chain) for chain in point.layers])
    below = (f"{SUBPATH}={point.subpath}",) if point.subpath else ()
    # Like the root of a container whose devices no rule guards it has none that could be opened.
    options = (*tree.options, "ro", "nodev", *below, *((IDMAP,) if is_mapped else ()))
    return replace(tree, destination=point.destination, options=options)
