"""What the build cache holds, record by record: layers of steps, and the folders that RUN steps share."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import get_args

from ..build import caches, earlier, records
from ..errors import NBContainersError
from ..results import CacheKind, CacheRecord
from ..store.store import Store
from .selection import PRUNING, Selection, moment

FILTERS = (*PRUNING, "type", "id")
"""The keys by which records are chosen."""


def selected(filters: Sequence[str]) -> Selection:
    """What ``--filter`` words say of records: NBContainersError for one that says nothing."""
    chosen = Selection.parse(filters, FILTERS)
    for word in chosen.get("until"):
        moment(word)  # or raises, before anything is gone
    for word in chosen.get("type"):
        if word not in get_args(CacheKind):
            raise NBContainersError(
                f"no type of the build cache: {word!r}", hint=f"known are {', '.join(get_args(CacheKind))}"
            )
    return chosen


def fits(chosen: Selection, kind: CacheKind, name: str, used: float) -> bool:
    """Whether a record is among those chosen: by its kind, the beginning of its ID (or a mount's own id), and its last use."""
    kinds, names = chosen.get("type"), chosen.get("id")
    if chosen.get("label") or (kinds and kind not in kinds) or not chosen.is_before(used):
        return False
    return not names or any(word and name.startswith(word) for word in names)


def listed(store: Store, filters: Sequence[str] = ()) -> tuple[CacheRecord, ...]:
    """Every record, the one that was used last first. A layer counts where it is first named; those of images are ``shared``."""
    chosen = selected(filters)
    images = {layer.digest for image in store.images.list() for layer in image.layers}
    titles = earlier.titles(store.root)
    found: list[CacheRecord] = []
    for path, made in records.every(store.root):
        with contextlib.suppress(FileNotFoundError):
            used = path.stat().st_mtime
            if fits(chosen, "regular", path.name, used):
                found.append(
                    CacheRecord(
                        id=path.name,
                        kind="regular",
                        description=titles.get(path.name, ""),
                        size=made.descriptor.size,
                        used=used,
                        shared=made.descriptor.digest in images,
                    )
                )
    mounts = [
        cache for cache in caches.every(store.root) if fits(chosen, "exec.cachemount", cache.path.name, cache.used)
    ]
    sizes = store.worker.measure([str(cache.path.relative_to(store.root)) for cache in mounts]) if mounts else ()
    for cache, size in zip(mounts, sizes, strict=True):
        found.append(
            CacheRecord(
                id=cache.path.name,
                kind="exec.cachemount",
                description=f"cache mount {cache.id}",
                size=size,
                used=cache.used,
                shared=False,
            )
        )
    return tuple(sorted(found, key=lambda record: -record.used))
