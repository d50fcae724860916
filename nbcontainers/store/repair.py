"""What is not whole in a store is made again, as far as it can be.

Nothing is thrown away that cannot be made again: it goes to ROOT/quarantine, where nothing finds it by accident.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import NBContainersError
from ..events import Observer, Warned, ignore
from ..oci.descriptor import DOCKER_LAYER_GZIP, LAYER_GZIP, LAYER_ZSTD, Descriptor, Digest
from ..oci.reference import Reference
from ..results import Fault
from . import unpacked
from .check import Check, Findings, Layer, damage, hashed
from .compression import Compression
from .store import Store

QUARANTINE = "quarantine"
Fetch = Callable[[Digest], bool]
"""Brings a blob into the store again from where it came; False if no source is known or it has it no more."""

_KINDS: Mapping[str, Compression] = {LAYER_GZIP: "gzip", DOCKER_LAYER_GZIP: "gzip", LAYER_ZSTD: "zstd"}
_FETCHED = "fetched again"
_ASIDE = "put aside in quarantine"
_LOST = f"{_ASIDE}: load, pull or build the image again"
_ORDER = {"blob": 0, "layer": 1}  # blobs first: layers are unpacked from them


def _nowhere(digest: Digest) -> bool:
    return False


def repair(
    store: Store,
    *,
    fetch: Fetch = _nowhere,
    used: Callable[[], Mapping[Digest, bool]] = dict,
    on_event: Observer = ignore,
) -> Findings:
    """Check, and make again what can be: the index, unpacked layers, blobs of layers that were made here or can be fetched.

    What cannot is put aside in ROOT/quarantine, and told with what it belongs to. Nothing is taken from images that are whole.

    Args:
        store: what is repaired.
        fetch: brings a blob from where it came.
        used: the chain IDs that containers stand on, true where one runs: its trees stay where they are.
        on_event: is told the progress.

    """
    with store.lease():
        checking = Check(store, on_event)
        found = checking.run()
        done: dict[tuple[str, str], Fault] = {}
        faults: Collection[Fault] = found.faults
        while faults:
            repairing = _Repair(checking, fetch, used)
            repaired = [repairing.one(fault) for fault in sorted(faults, key=lambda fault: _ORDER.get(fault.kind, 2))]
            for fault in repaired:
                before = done.get((fault.kind, fault.name), fault)
                done[fault.kind, fault.name] = replace(fault, problem=before.problem)
            # A manifest that came again tells what its image needs besides, which nobody knew to be of use.
            checking = Check(store, on_event)
            faults = checking.lacking() if any(fault.repaired == _FETCHED for fault in repaired) else ()
    return replace(found, faults=tuple(done.values()))


class _Repair:
    def __init__(self, checking: Check, fetch: Fetch, used: Callable[[], Mapping[Digest, bool]]) -> None:
        self._store = checking.store
        self._layers = checking.layers
        self._fetch = fetch
        self._used = used
        self._tell = checking.tell

    def one(self, fault: Fault) -> Fault:
        """Do what can be done about a fault."""
        acts = {"blob": self._blob, "layer": self._layer, "tag": self._tag, "index": self._index}
        act = acts.get(fault.kind)
        if act is None:
            return fault
        try:
            done = act(fault)
            return replace(fault, repaired=done, is_lost=done == _LOST)
        except (NBContainersError, OSError) as error:
            self._tell(Warned(message=f"{fault.kind} {fault.name} could not be repaired: {error}"))
            return fault

    def _index(self, fault: Fault) -> str:
        self._store.images.reindex()
        return "the index was made anew"

    def _tag(self, fault: Fault) -> str:
        if fault.images:  # a name that points nowhere
            wanted = self._store.images.tags.read(Reference.parse(fault.name)).descriptor.digest
            return _FETCHED if self._fetch(wanted) and self._store.content.has(wanted) else ""
        path = self._store.root / "tags" / fault.name
        self._put_aside(path, f"tag-{path.name}"[:255])
        return "put aside in quarantine: tag the image again"

    def _put_aside(self, path: Path, name: str) -> None:
        folder = self._store.root / QUARANTINE
        folder.mkdir(mode=0o700, exist_ok=True)
        path.rename(folder / name)

    def _blob(self, fault: Fault) -> str:
        digest, content = Digest(fault.name), self._store.content
        path = content.path(digest)
        was_there = path.exists()
        with self._store.leases.exclusive(), contextlib.suppress(FileNotFoundError):
            if hashed(path, digest.algorithm) == digest.hex:
                return "it was written again meanwhile"
            self._put_aside(path, f"{digest.algorithm}-{digest.hex}")
        if self._repack(digest):
            done = "made again from the unpacked layer"
        elif self._fetch(digest) and content.has(digest):
            done = _FETCHED
        else:
            return "" if not was_there else _LOST if fault.images else _ASIDE
        (self._store.root / QUARANTINE / f"{digest.algorithm}-{digest.hex}").unlink(missing_ok=True)
        return done

    def _repack(self, digest: Digest) -> bool:
        """Pack the unpacked layer of a blob again, if there is one that is whole; True if it has the same bytes as before."""
        content = self._store.content

        def adopt(path: Path, blob: Descriptor, handle: int) -> None:
            if blob.digest == digest:
                content.adopt(path, blob, handle)
            else:
                path.unlink()
                os.close(handle)

        for chain, layer in self._layers.items():
            kind = _KINDS.get(layer.blob.media_type)
            if layer.blob.digest != digest or kind is None or not self._whole((*layer.parents[-1:], chain)):
                continue
            self._store.worker.repack(chain, layer.parents, kind, adopt)
            if content.has(digest):
                return True
        return False

    def _whole(self, chains: Iterable[Digest]) -> bool:
        return all(
            unpacked.usable(self._store.root / "layers" / chain.hex) and not damage(self._store, chain)
            for chain in chains
        )

    def _layer(self, fault: Fault) -> str:
        chain = Digest(fault.name)
        layer = self._layers.get(chain)
        can = layer is not None and self._store.content.has(layer.blob.digest)
        used = self._used()
        if used.get(chain) or (chain in used and not can):
            return ""  # a container stands on it: it must be stopped first, or this is all that there is
        folder = self._store.root / "layers" / chain.hex
        aside = f"layer-{chain.hex}"
        with self._store.leases.exclusive():
            self._discard(aside)
            self._put_aside(folder, aside)
        if layer is None or not can or not self._whole_parents(layer):
            self._discard(aside)
            return "thrown away: it is unpacked again when it is needed"
        self._store.worker.unpack(
            self._store.content.path(layer.blob.digest),
            layer.diff_id,
            chain,
            parents=layer.parents,
            on_event=self._tell,
        )
        self._discard(aside)
        return "unpacked again from its blob"

    def _whole_parents(self, layer: Layer) -> bool:
        return all(unpacked.usable(self._store.root / "layers" / chain.hex) for chain in layer.parents)

    def _discard(self, aside: str) -> None:
        path = self._store.root / QUARANTINE / aside
        if path.exists():
            self._store.worker.remove(path)
