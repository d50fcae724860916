"""The build cache: one small file for each key, that names the layer which the step made.

A record whose blob is gone is no record. Builds of every notebook and of the command line share them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import IntegrityError
from ..linux import smallfiles
from ..oci.descriptor import Descriptor, Digest
from ..store.durable import saying_when_full
from ..store.garbage import Needed
from ..store.store import Store

_DEFINED = "defined"  # an empty file


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A layer that a step made: its blob, its diff ID, the tree that it completes, and when (RFC 3339, UTC)."""

    descriptor: Descriptor
    diff_id: Digest
    chain_id: Digest
    created: str


class Records:
    """The records of one store; what is found is named in the lease that the caller holds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "cache"

    def find(self, key: Digest) -> Made | None:
        """What a step of this key made, if it is still there."""
        path = self._folder / key.hex
        made = _read(path)
        if made is None:
            return None
        self._store.leases.protect(made.descriptor.digest, made.chain_id)
        if not self._store.content.has(made.descriptor.digest):
            return None
        with contextlib.suppress(FileNotFoundError):  # pruned just now: what it names is leased
            os.utime(path)  # what was not used for longest is pruned first
        return made

    def keep(self, key: Digest, made: Made) -> None:
        """Remember what a step made; a reader sees the old record or the whole new one."""
        written = {
            "descriptor": made.descriptor.to_json(),
            "diff_id": made.diff_id,
            "chain_id": made.chain_id,
            "created": made.created,
        }
        path = f"{self._folder}/{key.hex}"
        with saying_when_full(path):
            # Not brought to the disk: after a power cut a record may be lost or empty, and then it is none.
            smallfiles.replace(path, json.dumps(written, separators=(",", ":")).encode())

    @property
    def has_defined(self) -> bool:
        """Whether there may be records under keys of what is written (see ``definitions``)."""
        return (self._folder / _DEFINED).exists()

    def keep_defined(self, key: Digest, made: Made) -> None:
        """Remember under a key of what is written what a step made."""
        with saying_when_full(self._folder):
            (self._folder / _DEFINED).touch()
        self.keep(key, made)


def kept(root: Path) -> Needed:
    """The blobs and layers that the build cache names: what a collection keeps unless the cache is pruned first."""
    made = [made for _, made in every(root)]
    return Needed({one.descriptor.digest for one in made}, {one.chain_id for one in made})


def every(root: Path) -> Iterator[tuple[Path, Made]]:
    """Each record of a store's folder with its file."""
    for path in sorted((root / "cache").iterdir()):
        made = _read(path) if len(path.name) == 64 else None
        if made is not None:
            yield path, made


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A record that is of no use, and why."""

    path: Path
    problem: str


def spoilt(store: Store) -> Iterator[Spoilt]:
    """The records that cannot be read, or whose blob is gone: a build passes them over."""
    for path in sorted((store.root / "cache").iterdir()):
        if len(path.name) == 64:
            made = _read(path)
            if made is None and path.exists():
                yield Spoilt(path, "cannot be read")
            elif made is not None and not store.content.has(made.descriptor.digest):
                yield Spoilt(path, f"names a blob that is gone: {made.descriptor.digest}")


def _read(path: Path) -> Made | None:
    try:
        data = json.loads(path.read_bytes())
        return Made(
            descriptor=Descriptor.from_json(data["descriptor"]),
            diff_id=Digest(data["diff_id"]),
            chain_id=Digest(data["chain_id"]),
            created=str(data["created"]),
        )
    except OSError as error:
        if error.errno in smallfiles.NO_ROOM:
            raise
        return None
    except (ValueError, KeyError, TypeError, IntegrityError):
        return None
