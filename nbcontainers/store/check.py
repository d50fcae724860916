"""Is the store whole? Every blob by its digest, every tag, image, row and unpacked layer.

What a fault hurts is told by the names of the images that need it. A check changes nothing; see ``repair``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import IntegrityError, NBContainersError, NotFound
from ..events import Observer, Progress, ignore
from ..oci.descriptor import Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, chain_ids, parse
from ..results import Fault
from . import garbage, unpacked
from .catalogue import pick
from .store import Store

_PIECE = 1 << 20


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
class Layer:
    """A layer as an image has it: the blob, and the tree that it completes on those below."""

    blob: Descriptor
    diff_id: Digest
    parents: tuple[Digest, ...]


def check(store: Store, *, on_event: Observer = ignore) -> Findings:
    """Look at everything, and change nothing."""
    with store.lease():
        return Check(store, on_event).run()


class Check:
    """What is known of a store while it is checked."""

    def __init__(self, store: Store, on_event: Observer) -> None:
        self.store = store
        self.tell = on_event
        self.documents = garbage.documents(store.content)
        self.needed = _needed(store, self.documents)
        self.layers = dict(_layers(store, self.documents))

    def run(self) -> Findings:
        """Look at everything."""
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
                actual = hashed(self.store.content.path(digest), digest.algorithm)
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

        One that is gone is passed over by readers, and one that nobody names is what a killed process left for the collector. One
        that an index names is an image for another machine, or will be when its layers have come.
        """
        named: set[str] = set()
        for tag in self.store.images.tags:
            with contextlib.suppress(NBContainersError):  # what is damaged or missing is told of as such
                roots = garbage.Needed({tag.descriptor.digest})
                named |= garbage.reachable(self.store.content, self.documents, roots).blobs
        listed = {row.descriptor.digest for row in self.store.images.rows()}
        for row in self.documents.rows(self.store.content):
            if row.descriptor.digest in named - listed and self._is_whole(row.descriptor):
                yield self._fault("index", row.descriptor.digest, "is missing in the index of images")

    def _is_whole(self, descriptor: Descriptor) -> bool:
        with contextlib.suppress(NBContainersError):
            image = self.store.images.open(descriptor)
            return all(self.store.content.has(layer.digest) for layer in image.layers)
        return False

    def _layers(self, chains: Iterable[Digest]) -> Iterator[Fault]:
        chains = tuple(chains)
        for done, chain in enumerate(chains, 1):
            self.tell(Progress(what="checking unpacked layers", done=done, total=len(chains)))
            if problem := damage(self.store, chain):
                yield self._fault("layer", chain, problem)


def damage(store: Store, chain: Digest) -> str:
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


def hashed(path: Path, algorithm: str) -> str:
    """The digest of a file's bytes, in hexadecimal digits."""
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


def _layers(store: Store, found: garbage.Documents) -> Iterator[tuple[Digest, Layer]]:
    """The layers of all images that can be read, by chain ID."""
    for manifest in found.manifests.values():
        try:
            config = ImageConfig.from_json(parse(store.content.read(manifest.config.digest), "configuration"))
        except NBContainersError:
            continue
        if len(config.diff_ids) == len(manifest.layers):
            chains = chain_ids(config.diff_ids)
            for depth, (blob, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
                yield chains[depth], Layer(blob, diff_id, chains[:depth])
