"""Layers made by hand: what a test says is in them, and nothing else."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from nbcontainers.oci.descriptor import Platform
from nbcontainers.oci.image import ContainerConfig, History, Image, ImageConfig
from nbcontainers.store.store import Store
from tests.store.random_images import add_layer


@dataclass(frozen=True)
class Link:
    """A link to ``target``; ``hard`` for a further name of a file."""

    target: str
    hard: bool = False


Content = bytes | int | Link | None
"""Bytes, so many zeros, a link, or a folder."""


def archived(files: Mapping[str, Content]) -> bytes:
    """An archive of files and of the folders on the way to them, in the order of their names but for hard links, which come last."""
    folders = {name.rsplit("/", depth)[0] for name in files for depth in range(1, name.count("/") + 1)}
    members = {**dict.fromkeys(folders), **files}
    hard = {name for name, content in members.items() if isinstance(content, Link) and content.hard}
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as made:
            for name in sorted(members, key=lambda name: (name in hard, name)):
                content = members[name]
                header = tarfile.TarInfo(name)
                header.mode = 0o755 if content is None else 0o644
                if content is None:
                    header.type = tarfile.DIRTYPE
                elif isinstance(content, Link):
                    header.type, header.linkname = tarfile.LNKTYPE if content.hard else tarfile.SYMTYPE, content.target
                else:
                    header.size = content if isinstance(content, int) else len(content)
                made.addfile(header, io.BytesIO(bytes(content)) if isinstance(content, int | bytes) else None)
        return stream.getvalue()


def image(store: Store, *layers: Mapping[str, Content], **settings: object) -> Image:
    """An image of layers given as names and contents; nothing of it is unpacked."""
    made = [add_layer(store, archived(files)) for files in layers]
    lines = [History(created_by=f"/bin/sh -c step {number}") for number in range(len(layers))]
    config = ImageConfig(
        platform=Platform.host(),
        config=ContainerConfig(**settings),  # type: ignore[arg-type]
        diff_ids=tuple(diff_id for _, diff_id in made),
        history=(*lines[:1], History(created_by="/bin/sh -c #(nop)  USER me", empty_layer=True), *lines[1:]),
    )
    with store.lease():
        return store.images.create(config, [descriptor for descriptor, _ in made])
