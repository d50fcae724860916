"""Images come, get names, lose them and go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import Conflict, IntegrityError, InvalidReference, NotFound
from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest
from ..oci.image import Image, ImageConfig, Manifest, chain_ids, to_bytes
from ..oci.reference import Reference
from ..results import Collected
from . import garbage
from .catalogue import Catalogue, of_other_size
from .content import Content
from .leases import Leases
from .metadata import Row


class Images(Catalogue):
    """The images of one store.

    An image is safe from the collector from the moment a lease of this process or a tag names it: hold a lease from its first
    blob to its tag. ``discard`` removes an unpacked layer's tree; ``held`` tells what others need,
    where an image ID is as good as a blob's digest.
    """

    def __init__(
        self,
        root: Path,
        content: Content,
        leases: Leases,
        *,
        discard: Callable[[Path], object] = garbage.discard,
        held: Callable[[], garbage.Needed] = garbage.Needed,
    ) -> None:
        super().__init__(root, content)
        self._root = root
        self._leases = leases
        self._discard = discard
        self._held = held

    def create(
        self, config: ImageConfig, layers: Sequence[Descriptor], annotations: Mapping[str, str] | None = None
    ) -> Image:
        """Write an image of layers that are in the store, from the base up. It has no tag yet. ``annotations`` are its manifest's.

        Raises:
            NotFound: a layer's blob is not there.
            IntegrityError: layers and diff IDs are not of the same number.

        """
        if len(layers) != len(config.diff_ids):
            raise IntegrityError(f"an image of {len(layers)} layers and {len(config.diff_ids)} diff IDs")
        self._leases.protect(*(layer.digest for layer in layers), *chain_ids(config.diff_ids))
        for layer in layers:
            self._content.size(layer.digest)
        described = self._content.write(to_bytes(config), CONFIG)
        manifest = Manifest(config=described, layers=tuple(layers), annotations=annotations or {})
        return self.add(self._content.write(to_bytes(manifest), MANIFEST))

    def add(self, descriptor: Descriptor) -> Image:
        """Enter an image whose blobs are all in the store, as one without a tag.

        Raises:
            NotFound: a blob is missing.
            IntegrityError: a part is damaged, or a layer's size is not what the manifest says.

        """
        image = self.open(descriptor)
        self._complete(image)
        self._metadata.add(Row(descriptor=image.descriptor, config=image.id))
        return image

    def _complete(self, image: Image) -> None:
        for layer in image.layers:
            if (size := self._content.size(layer.digest)) != layer.size:
                raise of_other_size(layer, size)

    def tag(self, image: Image, reference: Reference, *, top: Descriptor | None = None) -> Image:
        """Give an image a name, durably, taking it from the image that has it; ``top`` may be an index that it is chosen from.

        Raises:
            InvalidReference: the name has a digest.
            NotFound: a part of the image is missing: it was collected before this, for no lease held it.

        """
        if reference.digest or not reference.tag:
            raise InvalidReference(
                f"refusing to create a tag with a digest reference: {reference.familiar}", hint="give NAME:TAG"
            )
        return self.name(image, reference, top or image.descriptor)

    def name(self, image: Image, reference: Reference, descriptor: Descriptor) -> Image:
        """Let a name stand for a descriptor from then on: the image's manifest, or an index of which this host takes the image.

        A name by digest keeps what was pulled by it, as a tag would.

        Raises:
            NotFound: a part of the image is missing: it was collected before this, for no lease held it.

        """
        with self._leases.shared():
            for digest in {descriptor.digest, image.descriptor.digest, image.id}:
                self._content.size(digest)
            self._complete(image)
            if not self._stands_for(reference, descriptor):  # a cached build tags what it tagged before
                self.tags.write(reference, descriptor)
                self._metadata.add(Row(descriptor=image.descriptor, config=image.id))
        return Image(reference=reference, descriptor=image.descriptor, manifest=image.manifest, config=image.config)

    def _stands_for(self, reference: Reference, descriptor: Descriptor) -> bool:
        try:
            return self.tags.read(reference).descriptor == descriptor
        except (NotFound, IntegrityError):
            return False

    def remove(
        self,
        name: str,
        *,
        force: bool = False,
        in_use: Collection[Digest] = (),
        keep: Collection[Digest] = (),
        keep_layers: bool = False,
    ) -> tuple[str, ...]:
        """Take a name away, and with its last name the image; the lines that Docker prints are returned.

        An image that a container uses (``in_use`` holds image IDs) keeps its last name unless forced, and its blobs and layers
        until no container uses it. ``keep`` are further blobs and layers that stay; with ``keep_layers`` all of the image's
        do, until the next collection.

        Raises:
            NotFound: there is no such image.
            Conflict: it is used, or an ID was given and it has names in several repositories.

        """
        with self._leases.exclusive():
            lines = self._remove(name, force, in_use, keep, keep_layers)
        garbage.empty_trash(self._root, self._discard)
        return lines

    def _remove(
        self, name: str, force: bool, in_use: Collection[Digest], keep: Collection[Digest], keep_layers: bool
    ) -> tuple[str, ...]:
        try:
            image = self.resolve(name)
        except (IntegrityError, NotFound):
            return (self._untag_damaged(name),)
        tags = [tag.reference for tag in self.tags if self._id(tag.descriptor) == image.id]
        named = image.reference is not None and image.reference in tags
        if named and len(tags) > 1 and image.reference:
            self.tags.remove(image.reference)
            return (f"Untagged: {image.reference.familiar}",)
        used = image.id in in_use
        if used and not force:
            verb = f"remove repository reference {name!r}" if named else f"delete {image.id.short}"
            raise Conflict(
                f"unable to {verb} (must be forced): a container uses the image {image.id.short}",
                hint="remove the container first ('nbcontainers ps -a' shows it), or use -f",
            )
        if used and not tags:
            raise Conflict(
                f"unable to delete {image.id.short} (cannot be forced): a container uses the image",
                hint="remove the container first: 'nbcontainers ps -a' shows it",
            )
        if not force and len({reference.name for reference in tags}) > 1:
            raise Conflict(
                f"unable to delete {image.id.short} (must be forced): image is referenced in multiple repositories",
                hint="remove its names one by one, or use -f: " + ", ".join(tag.familiar for tag in tags),
            )
        for reference in tags:
            self.tags.remove(reference)
        lines = tuple(f"Untagged: {reference.familiar}" for reference in tags)
        needed = garbage.Needed.of((*in_use, *keep))
        if keep_layers:
            needed |= garbage.Needed({layer.digest for layer in image.layers}, set(image.chain_ids))
        gone = Collected() if used else self._sweep(needed, only=image)
        deleted = [image.id] if not self._content.has(image.id) else []
        deleted += [chain for chain in reversed(image.chain_ids) if chain in gone.layers]
        return (*lines, *(f"Deleted: {digest}" for digest in deleted))

    def _untag_damaged(self, name: str) -> str:
        """Take a name from an image that cannot be read: what it needs cannot be told, so the collector sees to it later."""
        with contextlib.suppress(InvalidReference):
            reference = Reference.parse(name)
            if self.tags.path(reference).exists():
                self.tags.remove(reference)
                return f"Untagged: {reference.familiar}"
        self.resolve(name)  # says why it could not be read
        raise NotFound(f"no such image: {name}")

    def _sweep(self, keep: garbage.Needed, only: Image) -> Collected:
        """Remove those parts of an image that nothing else needs, not even an image without a name; nothing, where that cannot be told."""
        candidates: set[str] = {
            only.descriptor.digest,
            only.id,
            *only.chain_ids,
            *(layer.digest for layer in only.layers),
        }
        try:
            found = garbage.documents(self._content)
            same = {digest for digest, manifest in found.manifests.items() if manifest.config.digest == only.id}
            candidates |= same
            for digest, index in found.indexes.items():
                entries = {entry.digest for entry in index.manifests}
                if same & entries:
                    candidates |= {digest, *entries}
                    for manifest in filter(None, map(found.manifests.get, entries)):
                        candidates |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
            others = {row.descriptor.digest for row in self._rows("sha256:")} - candidates
            reachable = self._reachable(found, keep | garbage.Needed(others))
            return garbage.sweep(
                self._root, self._content, found, reachable, only=candidates, forget=self._metadata.remove
            )
        except IntegrityError:
            return Collected()

    def _reachable(self, found: garbage.Documents, keep: garbage.Needed) -> garbage.Needed:
        # Leases first: whoever ends one has by then written what needs the same, and needs no gate for either.
        roots = keep | garbage.Needed.of(self._leases.names()) | self._held()
        tags = set[str]()
        for tag in self.tags:
            garbage.readable(found, tag.descriptor)
            tags.add(tag.descriptor.digest)
        return garbage.reachable(self._content, found, roots | garbage.Needed(tags))

    def collect(
        self,
        *,
        keep: Collection[str] = (),
        only: Collection[str] | None = None,
        doomed: Callable[[Image], bool] = lambda image: image.reference is None,
    ) -> Collected:
        """Remove every blob and layer that no tag, no lease and nothing in ``keep`` needs, and what killed processes left.

        ``keep`` holds image IDs, digests of blobs and manifests, and chain IDs; ``only`` the candidates, None for all. ``doomed``
        is asked of each image, under each of its names, whether it goes; by default those without a name do. It is called while
        nothing can get a name; whatever it says, what is needed stays.

        Raises:
            IntegrityError: a named image is damaged, so what it needs cannot be told; nothing is removed.

        """
        with self._leases.exclusive():
            if damaged := self.tags.damaged():
                raise IntegrityError(
                    f"the tag {damaged[0]} is damaged, so what it names cannot be told",
                    hint="'nbcontainers check --repair' puts it aside",
                )
            found = garbage.documents(self._content)
            needed = garbage.Needed.of(keep)
            self._reachable(found, needed)  # or raises, before anything is gone
            untagged, kept = self._untag(doomed) if only is None else ((), frozenset[str]())
            reachable = self._reachable(found, needed | garbage.Needed(kept))
            collected = garbage.sweep(
                self._root, self._content, found, reachable, only=only, forget=self._metadata.remove
            )
            garbage.sweep_scratch(self._root, busy=bool(self._leases.living()))
            self._metadata.remove(
                *(
                    row.descriptor.digest
                    for row in self._metadata.find()
                    if not self._content.has(row.descriptor.digest)
                )
            )
        garbage.empty_trash(self._root, self._discard)
        return replace(collected, untagged=untagged)

    def _untag(self, doomed: Callable[[Image], bool]) -> tuple[tuple[str, ...], frozenset[str]]:
        """Take the names of doomed images away; which they were, and the images without a name that stay."""
        busy, untagged, kept = self._leases.names(), [], set[str]()
        for image in self.list():
            if image.descriptor.digest in busy or image.id in busy or not doomed(image):
                kept.add(image.descriptor.digest)
            elif image.reference:
                self.tags.remove(image.reference)
                untagged.append(image.reference.familiar)
        return tuple(untagged), frozenset(kept)

    def drop(self, chains: Collection[Digest], used: Callable[[], Collection[str]]) -> Collected:
        """Throw unpacked layers away, but for those that are leased or ``used``; they can be unpacked again from their blobs."""
        with self._leases.exclusive():
            busy = {*self._leases.names(), *used()}
            gone = garbage.drop_layers(self._root, [chain for chain in chains if chain not in busy])
        garbage.empty_trash(self._root, self._discard)
        return gone

    def reindex(self) -> None:
        """Make the index anew from the blobs."""
        self._metadata.rebuild()
