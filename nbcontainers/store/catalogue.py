"""Which images a store holds, and which of them a name stands for: by tag, image ID or digest."""

from __future__ import annotations

import contextlib
import difflib
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ..errors import Conflict, HostError, IntegrityError, InvalidReference, NBContainersError, NotFound
from ..oci import platforms
from ..oci.descriptor import INDEXES, Descriptor, Digest, Platform
from ..oci.image import History, Image, ImageConfig, Index, Manifest, parse
from ..oci.reference import Reference
from . import garbage
from .content import Content
from .metadata import Metadata, Row
from .tags import Tags

_TAG = re.compile(r":[^/:]*$")
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


class Artifact(NotFound):
    """What has a manifest as an image has, and is none."""


class Catalogue:
    """The images of one store, to be looked up; nothing of it changes the store."""

    def __init__(self, root: Path, content: Content) -> None:
        self._content = content
        self.tags = Tags(root)
        self._metadata = Metadata(root, lambda: tuple(garbage.documents(content).rows(content)))

    def resolve(self, name: str) -> Image:
        """The image of a reference, of an image ID or the beginning of one (four digits at least), or of a digest.

        Raises:
            NotFound: there is none; the hint names what is spelled like it.
            Conflict: several image IDs begin so.
            InvalidReference: it cannot name an image at all.
            IntegrityError: the image is there and damaged.

        """
        try:
            reference = Reference.parse(name)
        except InvalidReference:
            if not _ID.fullmatch(name):
                raise
        else:
            if reference.digest:
                return self._by_digest(reference)
            if self.tags.path(reference).exists():
                return self.open(self.tags.read(reference).descriptor, reference)
        if match := _ID.fullmatch(name):
            ids = {row.config: row for row in self._rows(f"sha256:{match[1]}")}
            if len(ids) > 1:
                raise Conflict(
                    f"{len(ids)} images have an ID that begins with {name!r}",
                    hint="give more of it: " + ", ".join(sorted(digest.short for digest in ids)),
                )
            for row in ids.values():
                return self.open(row.descriptor)
            if len(match[1]) == 64 and self._content.has(digest := Digest(f"sha256:{match[1]}")):
                return self.open(self._describe(digest))
        raise NotFound(f"no such image: {name}", hint=self._suggest(name))

    def _by_digest(self, reference: Reference) -> Image:
        digest = Digest(reference.digest)
        if reference.tag and self.tags.read(reference_without_digest(reference)).descriptor.digest != digest:
            raise NotFound(f"the image {reference.familiar} has another digest", hint="leave out the tag or the digest")
        if not self._content.has(digest):
            raise NotFound(f"no such image: {reference.familiar}", hint=self._suggest(reference.familiar_name))
        return self.open(self._describe(digest), reference)

    def _describe(self, digest: Digest) -> Descriptor:
        """The descriptor of a manifest or index of which only the digest is known."""
        data = self._content.read(digest)
        fields = parse(data, f"blob {digest}")
        value = Index.from_json(fields) if "manifests" in fields else Manifest.from_json(fields)
        return Descriptor(media_type=value.media_type, digest=digest, size=len(data))

    def _suggest(self, name: str) -> str:
        known = {tag.reference.familiar.removesuffix(":latest") for tag in self.tags}
        repository = _TAG.sub("", name.partition("@")[0])
        beside = sorted(word for word in known if _TAG.sub("", word) == repository)  # other tags of it
        close = list(dict.fromkeys((*difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6), *beside)))[:3]
        if close:
            return "did you mean " + " or ".join(close) + "?"
        return (
            "'nbcontainers images' shows those that are here"
            if known
            else "the store has no images yet: build, load or pull one"
        )

    def open(self, descriptor: Descriptor, reference: Reference | None = None) -> Image:
        """The image that a descriptor stands for; of an index, the one for this machine.

        Raises:
            NotFound: a part of it is missing, it has nothing for this platform, or it is an artifact.
            IntegrityError: a part of it is damaged.

        """
        data = self._document(descriptor)
        if descriptor.media_type in INDEXES:
            index = Index.from_json(parse(data, f"index {descriptor.digest}"))
            return self.open(pick(index, Platform.host()), reference)
        manifest = Manifest.from_json(parse(data, f"manifest {descriptor.digest}"))
        if manifest.artifact:
            raise Artifact(
                f"{descriptor.digest} is no image but an artifact of the type {manifest.artifact[:100]}",
                hint="the program that made it, or oras, can read it",
            )
        config = ImageConfig.from_json(
            parse(self._document(manifest.config), f"configuration {manifest.config.digest}")
        )
        if len(config.diff_ids) != len(manifest.layers):
            raise IntegrityError(
                f"image {manifest.config.digest} has {len(manifest.layers)} layers and {len(config.diff_ids)} diff IDs",
                expected=str(len(config.diff_ids)),
                actual=str(len(manifest.layers)),
            )
        plain = Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)
        return Image(reference=reference, descriptor=plain, manifest=manifest, config=config)

    def _document(self, descriptor: Descriptor) -> bytes:
        data = self._content.read(descriptor.digest)
        if len(data) != descriptor.size:
            raise of_other_size(descriptor, len(data))
        return data

    def list(self) -> tuple[Image, ...]:
        """One image for each tag, newest first, then those without a tag, newest first; damaged ones are left out."""
        tagged = [self._open_or_none(tag.descriptor, tag.reference) for tag in self.tags]
        found = [image for image in tagged if image]
        ids = {image.id for image in found}
        others = {digest for tag in self.tags for digest in self._entries(tag.descriptor)}
        rows = {
            row.config: row.descriptor
            for row in self._rows("sha256:")
            if row.config not in ids and row.descriptor.digest not in others
        }
        untagged = [image for image in map(self._open_or_none, rows.values()) if image]
        return (*sorted(found, key=_age), *sorted(untagged, key=_age))

    def _open_or_none(self, descriptor: Descriptor, reference: Reference | None = None) -> Image | None:
        try:
            return self.open(descriptor, reference)
        except NBContainersError:
            return None

    def _entries(self, descriptor: Descriptor) -> tuple[Digest, ...]:
        """What an index names: images for other platforms are no images without a name."""
        if descriptor.media_type not in INDEXES:
            return ()
        with contextlib.suppress(NBContainersError):
            index = Index.from_json(parse(self._document(descriptor), f"index {descriptor.digest}"))
            return tuple(entry.digest for entry in index.manifests)
        return ()

    def _rows(self, prefix: str) -> tuple[Row, ...]:
        return tuple(row for row in self._metadata.find(prefix) if self._content.has(row.descriptor.digest))

    def history(self, image: Image) -> tuple[tuple[History, Descriptor | None], ...]:
        """Each line of an image's history with the layer that it made, from the base up; a layer without a line has an empty one."""
        layers = iter(image.layers)
        lines = [(line, None if line.empty_layer else next(layers, None)) for line in image.config.history]
        return (*lines, *((History(), layer) for layer in layers))

    def _id(self, descriptor: Descriptor) -> Digest | None:
        image = self._open_or_none(descriptor)
        return image.id if image else None

    def counted(self, blob: Digest, count: Callable[[], int]) -> int:
        """A blob's bytes uncompressed, counted when they are first asked for; 0 where that fails."""
        if (known := self._metadata.counted(blob)) is not None:
            return known
        try:
            size = count()
        except IntegrityError:
            size = 0  # damaged, or beyond what is unpacked: it is not read again
        except (NBContainersError, OSError):
            return 0
        with contextlib.suppress(
            sqlite3.OperationalError, HostError
        ):  # the index cannot be written: it is counted again
            self._metadata.count(blob, size)
        return size

    def rows(self) -> tuple[Row, ...]:
        """What the index lists, whether it is true or not."""
        return self._metadata.find("sha256:")


def of_other_size(descriptor: Descriptor, size: int) -> IntegrityError:
    """The error of a blob that has another size than what describes it says."""
    return IntegrityError(
        f"blob {descriptor.digest} should have {descriptor.size} bytes and has {size}",
        expected=str(descriptor.size),
        actual=str(size),
        hint="load or pull the image again",
    )


def reference_without_digest(reference: Reference) -> Reference:
    """The same name by its tag alone."""
    return Reference(reference.registry, reference.repository, reference.tag)


def pick(index: Index, platform: Platform) -> Descriptor:
    """The manifest for a platform: the best of those whose programs run there.

    Raises:
        NotFound: there is none; the message names those that there are.

    """
    return platforms.choose(index.manifests, platform)


def _age(image: Image) -> tuple[float, str]:
    """Sorts the newest first."""
    try:
        created = datetime.fromisoformat(image.config.created)
    except ValueError:
        return 0.0, image.name
    return -created.replace(tzinfo=created.tzinfo or UTC).timestamp(), image.name
