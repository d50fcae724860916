"""The offline base: an image out of this host's own programs and the running Python, with no network and no privilege.

The same host gives the same digest: names are sorted, times fixed, owners root, modes 755 or 644. What is taken keeps its
name if it is part of the system; a Python from elsewhere (a home folder, a conda environment) moves to /usr/local.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NBContainersError, NotFound
from ..events import Observer, Progress, Warned, ignore
from ..oci.descriptor import Platform
from ..oci.image import ContainerConfig, History, Image, ImageConfig
from ..oci.reference import Reference
from . import bytecode, dependencies, fingerprint, gathering, interpreter, inventory, programs, skeleton
from .bytecode import Compilation
from .inventory import PATH, Contents
from .packing import Packed, pack

if TYPE_CHECKING:
    from .store import Store

REFERENCE = Reference.parse("toolbox")
OLDEST = 315619200  # 2 January 1980: zip files know no earlier day, in no time zone


def build(store: Store, *, extra: Sequence[str] = (), on_event: Observer = ignore) -> Image:
    """Make the image out of this host, or find it made; it is tagged ``toolbox:latest``.

    The same files give the same digest. As long as none of them has changed, the image is only looked up.

    Args:
        store: where it goes.
        extra: programs beside the core ones, by name or path.
        on_event: told of the progress, and of what had to be left out.

    Raises:
        NotFound: an extra program, or a library that it needs, is not on this host.

    """
    created = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    words = sorted({os.path.abspath(word) if "/" in word else word for word in extra})
    searched = [os.environ.get(name, "") for name in ("PATH", "LD_LIBRARY_PATH", "HOME")]
    key = json.dumps([_recipe(), created, sys.version, sys.base_prefix, sys.executable, words, searched])
    with store.lease() as lease:
        known = fingerprint.recall(store.root, key)
        if known:
            lease.add(known.digest)
            with suppress(NBContainersError):  # it was removed, or is damaged: it is made again
                return _tag(store, store.images.open(known))
        contents = inventory.gather(words, warn=lambda message: on_event(Warned(message=message)))
        before = fingerprint.of(contents.seen)
        image = _tag(store, _write(store, contents, created, on_event))
        if before == fingerprint.of(contents.seen):  # else it changed meanwhile, and nobody knows what was read
            fingerprint.remember(store.root, key, words, contents.seen, before, image.descriptor)
        return image


def current(store: Store, *, on_event: Observer = ignore) -> Image:
    """The image that the name ``toolbox`` means here: as it was asked for last, brought up to date with the host.

    What was chosen with ``extra`` stays chosen, until the image is removed; an image of that name from elsewhere is let be.
    """
    try:
        found = store.images.resolve(REFERENCE.familiar)
    except NotFound:
        return build(store, on_event=on_event)
    words = fingerprint.words_of(store.root, found.descriptor.digest)
    return found if words is None else build(store, extra=words, on_event=on_event)


def _tag(store: Store, image: Image) -> Image:
    with suppress(NBContainersError):
        found = store.images.resolve(REFERENCE.familiar)
        if found.descriptor.digest == image.descriptor.digest:
            return found
    return store.images.tag(image, REFERENCE)


@functools.cache
def _recipe() -> str:
    """A digest of this code: another version makes another image."""
    modules = (bytecode, dependencies, gathering, interpreter, inventory, programs, skeleton, sys.modules[__name__])
    content = hashlib.sha256()
    for module in modules:
        content.update(Path(module.__file__ or "").read_bytes())
    return content.hexdigest()


def _write(store: Store, contents: Contents, created: int, on_event: Observer) -> Image:
    total = sum(part.size for part in contents.parts)
    done = 0
    layers: list[Packed] = []
    with Compilation(contents.python.executable, contents.modules) as compilation:
        for part in contents.parts:
            on_event(Progress(what="toolbox", done=done, total=total))
            done += part.size
            if part is contents.python_part and not interpreter.place_bytecode(part, contents.modules, compilation):
                on_event(Warned(message="Python's modules could not be compiled: it starts more slowly in the toolbox"))
            layers.append(pack(store.content, part.rows, max(created, OLDEST)))
    on_event(Progress(what="toolbox", done=total, total=total))
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    config = ImageConfig(
        platform=Platform.host(),
        created=written,
        config=ContainerConfig(
            env=(f"PATH={PATH}", "LANG=C.UTF-8"),
            cmd=("/bin/sh",),
            labels={
                "org.opencontainers.image.title": "toolbox",
                "org.opencontainers.image.description": "the programs of the host that made it, and its Python",
                "nbcontainers.toolbox.python": contents.python.version,
            },
        ),
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=(
            *(History(created=written, created_by=part.title) for part in contents.parts),
            History(created=written, created_by='CMD ["/bin/sh"]', empty_layer=True),
        ),
    )
    return store.images.create(config, [layer.descriptor for layer in layers])
