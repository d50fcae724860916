"""Is the store whole? Every blob by its digest, every tag, image, row and unpacked layer; and what can be made again is.

What a fault hurts is told by the names of the images that need it. A check changes nothing; ``repair`` does, and never throws
away what it cannot make again: that goes to ROOT/quarantine, where nothing finds it by accident.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import IntegrityError, NBContainersError, NotFound
from ..events import Observer, Progress, Warned, ignore
from ..oci.descriptor import DOCKER_LAYER_GZIP, LAYER_GZIP, LAYER_ZSTD, Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, chain_ids, parse
from ..oci.reference import Reference
from ..results import Fault
from . import garbage, unpacked
from .catalogue import pick
from .compression import Compression
from .store import Store

QUARANTINE = "quarantine"
Fetch = Callable[[Digest], bool]
"""Brings a blob into the store again from where it came; False if no source is known or it has it no more."""

_PIECE = 1 << 20
_KINDS: Mapping[str, Compression] = {LAYER_GZIP: "gzip", DOCKER_LAYER_GZIP: "gzip", LAYER_ZSTD: "zstd"}


@dataclass(frozen=True, slots=True)
class Findings:
    """What was looked at, by number, and what is wrong with it."""

    blobs: int
    size: int
    tags: int
    images: int
    layers: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer as an image has it: the blob, and the tree that it completes on those below."""

    blob: Descriptor
    diff_id: Digest
    parents: tuple[Digest, ...]


def check(store: Store, *, on_event: Observer = ignore) -> Findings:
    """Look at everything, and change nothing."""
    with store.lease():
        return _Check(store, on_event).run()


class _Check:
    """What is known of a store while it is checked."""

    def __init__(self, store: Store, on_event: Observer) -> None:
        self.store = store
        self.tell = on_event
        self.documents = garbage.documents(store.content)
        self.needed = _needed(store, self.documents)
        self.layers = dict(_layers(store, self.documents))

    def run(self) -> Findings:
        sizes = dict(_sizes(self.store))
        tags = tuple(self.store.images.tags)
        blobs = tuple(self._blobs(sizes))
        images, unopened = self._images({Digest(fault.name) for fault in blobs})
        chains = garbage.unpacked(self.store.root)
        faults = (*blobs, *self._tags(), *unopened, *self._rows(), *self._layers(chains))
        return Findings(len(sizes), sum(sizes.values()), len(tags), images, len(chains), faults)

    def lacking(self) -> tuple[Fault, ...]:
        """What images lack, without a look into what they have."""
        return self._images(())[1]

    def _blobs(self, sizes: Mapping[Digest, int]) -> Iterator[Fault]:
        """Every blob is read whole."""
        done, total = 0, sum(sizes.values())
        for digest, size in sorted(sizes.items()):
            try:
                actual = _hash(self.store.content.path(digest), digest.algorithm)
            except FileNotFoundError:
                continue  # collected meanwhile
            except OSError as error:
                yield self._fault("blob", digest, f"cannot be read: {error.strerror}")
                continue
            done += size
            self.tell(Progress(what="checking blobs", done=done, total=total))
            if actual != digest.hex:
                yield self._fault("blob", digest, f"is damaged: its bytes have the digest {digest.algorithm}:{actual}")

    def _fault(self, kind: str, name: Digest, problem: str) -> Fault:
        return Fault(kind=kind, name=str(name), problem=problem, images=tuple(sorted(self.needed.get(name, ()))))

    def _tags(self) -> Iterator[Fault]:
        for path in self.store.images.tags.damaged():
            yield Fault(kind="tag", name=path.name, problem="cannot be read, so what it names cannot be told")

    def _images(self, damaged: Collection[Digest]) -> tuple[int, tuple[Fault, ...]]:
        """Each image can be opened and has all its blobs, of the sizes that its manifest says.

        A manifest that has no name and was never listed is what a killed process left for the collector.
        """
        faults: dict[str, Fault] = {}
        named = [(tag.reference.familiar, tag.descriptor) for tag in self.store.images.tags]
        tagged = {descriptor.digest for _, descriptor in named}
        listed = {row.descriptor.digest for row in self.store.images.rows()}
        rows = (row for row in self.documents.rows(self.store.content) if row.descriptor.digest in listed)
        rest = [(row.config.short, row.descriptor) for row in rows]
        named += [(name, descriptor) for name, descriptor in rest if descriptor.digest not in tagged]
        for name, descriptor in named:
            try:
                parts = self._parts(name, self.store.images.open(descriptor))
            except NBContainersError as error:
                lacking = self._lacking(descriptor)
                missing = lacking == descriptor.digest
                problem = f"points nowhere: the store has no {descriptor.digest}" if missing else error.message
                parts = iter([Fault(kind="tag" if missing else "image", name=name, problem=problem, images=(name,))])
                if lacking and not missing:
                    hurt = {name, *self.needed.get(lacking, ())}
                    parts = iter([Fault(kind="blob", name=lacking, problem="is missing", images=tuple(sorted(hurt)))])
                if descriptor.digest in damaged or any(digest in error.message for digest in damaged):
                    continue  # told already, as what it hurts
            wrong = {fault.name: fault for fault in parts}
            if wrong and self._is_there(name, descriptor):
                faults |= wrong
        return len(named), tuple(faults.values())

    def _lacking(self, descriptor: Descriptor) -> Digest | None:
        """The first document that is missing on the way from a name to its image's configuration."""
        if not self.store.content.has(descriptor.digest):
            return descriptor.digest
        with contextlib.suppress(NotFound):  # the index has nothing for this machine
            if index := self.documents.indexes.get(descriptor.digest):
                return self._lacking(pick(index, Platform.host()))
        manifest = self.documents.manifests.get(descriptor.digest)
        return self._lacking(manifest.config) if manifest else None

    def _is_there(self, name: str, descriptor: Descriptor) -> bool:
        """Whether an image has its name yet, or its row. Whoever removes it takes those away first, and its blobs then."""
        if any(tag.descriptor == descriptor and tag.reference.familiar == name for tag in self.store.images.tags):
            return True
        return any(row.descriptor.digest == descriptor.digest for row in self.store.images.rows())

    def _parts(self, name: str, image: Image) -> Iterator[Fault]:
        for layer in image.layers:
            try:
                size = self.store.content.size(layer.digest)
            except NotFound:
                yield self._fault("blob", layer.digest, "is missing")
                continue
            if size != layer.size:
                problem = f"has a layer {layer.digest} of {size} bytes which should have {layer.size}"
                yield Fault(kind="image", name=name, problem=problem, images=(name,))

    def _rows(self) -> Iterator[Fault]:
        """The index lists the manifests of images that have a name.

        One that is gone is passed over by readers, and one that nobody names is what a killed process left for the collector.
        """
        named: set[str] = set()
        for tag in self.store.images.tags:
            with contextlib.suppress(NBContainersError):  # what is damaged or missing is told of as such
                roots = garbage.Needed({tag.descriptor.digest})
                named |= garbage.reachable(self.store.content, self.documents, roots).blobs
        listed = {row.descriptor.digest for row in self.store.images.rows()}
        for row in self.documents.rows(self.store.content):
            if row.descriptor.digest in named - listed and self._opens(row.descriptor):
                yield self._fault("index", row.descriptor.digest, "is missing in the index of images")

    def _opens(self, descriptor: Descriptor) -> bool:
        with contextlib.suppress(NBContainersError):
            self.store.images.open(descriptor)
            return True
        return False

    def _layers(self, chains: Iterable[Digest]) -> Iterator[Fault]:
        chains = tuple(chains)
        for done, chain in enumerate(chains, 1):
            self.tell(Progress(what="checking unpacked layers", done=done, total=len(chains)))
            if problem := _problem(self.store, chain):
                yield self._fault("layer", chain, problem)


def _problem(store: Store, chain: Digest) -> str:
    """What is wrong with an unpacked layer; nothing if nothing is."""
    folder = store.root / "layers" / chain.hex
    try:
        looked_at = folder.stat()
    except FileNotFoundError:
        return ""
    if not unpacked.usable(folder):
        problem = "was not brought to the disk before the machine stopped"
    else:
        try:
            found = store.worker.verify(chain)
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            problem = f"{found[0][0]} {found[0][1]}{more}" if found else ""
        except FileNotFoundError:
            problem = "lacks its index or its files"
        except (IntegrityError, OSError) as error:
            problem = f"cannot be read: {error}"
    with contextlib.suppress(FileNotFoundError):
        return problem if os.path.samestat(folder.stat(), looked_at) else ""
    return ""  # it was thrown away meanwhile


def _sizes(store: Store) -> Iterator[tuple[Digest, int]]:
    for digest in store.content:
        with contextlib.suppress(NotFound):  # it was collected meanwhile
            yield digest, store.content.size(digest)


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return hashlib.file_digest(file, algorithm).hexdigest()


def _needed(store: Store, found: garbage.Documents) -> dict[str, set[str]]:
    """For each blob and chain ID the names of the images that need it; an image without a name goes by its short ID."""
    needed: dict[str, set[str]] = {}
    names = [(tag.reference.familiar, tag.descriptor.digest) for tag in store.images.tags]
    tagged = {digest for _, digest in names}
    names += [(item.config.digest.short, digest) for digest, item in found.manifests.items() if digest not in tagged]
    children = {entry.digest for index in found.indexes.values() for entry in index.manifests}
    for name, digest in names:
        if digest in children and digest not in tagged:
            continue  # told by the name of its index
        try:
            both = garbage.reachable(store.content, found, garbage.Needed({digest}))
            parts = both.blobs | both.layers
        except NBContainersError:  # its configuration is damaged
            manifest = found.manifests.get(digest)
            parts = {
                digest,
                *((manifest.config.digest, *(layer.digest for layer in manifest.layers)) if manifest else ()),
            }
        for part in parts:
            needed.setdefault(part, set()).add(name)
    return needed


def _layers(store: Store, found: garbage.Documents) -> Iterator[tuple[Digest, _Layer]]:
    """The layers of all images that can be read, by chain ID."""
    for manifest in found.manifests.values():
        try:
            config = ImageConfig.from_json(parse(store.content.read(manifest.config.digest), "configuration"))
        except NBContainersError:
            continue
        if len(config.diff_ids) == len(manifest.layers):
            chains = chain_ids(config.diff_ids)
            for depth, (blob, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
                yield chains[depth], _Layer(blob, diff_id, chains[:depth])


# Repair ---------------------------------------------------------------------------------------------------------------


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
        checking = _Check(store, on_event)
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
            checking = _Check(store, on_event)
            faults = checking.lacking() if any(fault.repaired == _FETCHED for fault in repaired) else ()
    return replace(found, faults=tuple(done.values()))


class _Repair:
    def __init__(self, checking: _Check, fetch: Fetch, used: Callable[[], Mapping[Digest, bool]]) -> None:
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
            if _hash(path, digest.algorithm) == digest.hex:
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
            unpacked.usable(self._store.root / "layers" / chain.hex) and not _problem(self._store, chain)
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

    def _whole_parents(self, layer: _Layer) -> bool:
        return all(unpacked.usable(self._store.root / "layers" / chain.hex) for chain in layer.parents)

    def _discard(self, aside: str) -> None:
        path = self._store.root / QUARANTINE / aside
        if path.exists():
            self._store.worker.remove(path)
