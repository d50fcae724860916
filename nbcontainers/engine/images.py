"""The methods of an engine that are about the images of its store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import NotFound
from ..events import Observer, ignore
from ..oci import platforms
from ..oci.descriptor import Descriptor, Digest
from ..oci.image import History, Image
from ..oci.reference import Reference
from ..results import ImageDiff, LayerStack
from . import inspect, kinds, whereabouts
from .exchange import Exchange

if TYPE_CHECKING:
    from ..store.archive import Form as ArchiveForm
    from ..store.compression import Compression

TOOLBOX = Reference.parse("toolbox")


class Images(Exchange):
    """An engine, as far as images are concerned."""

    def image(self, name: str | Image) -> Image:
        """The image that a name, an ID or a digest stands for; ``toolbox`` is made when it is first asked for.

        Raises:
            NotFound: there is none; the hint names the nearest.
        """
        if isinstance(name, Image):
            return name
        try:
            return self.store.images.resolve(name)
        except NotFound:
            if Reference.parse(name) != TOOLBOX:
                raise
            return self.toolbox()

    def _source(self, image: str | Image, policy: str, platform: str | None, on_event: Observer) -> Image:
        """The image for a container or a build, pulled by docker's ``--pull``: missing, always or never."""
        if isinstance(image, Image):
            return image
        if policy == "missing" and not platform:
            with contextlib.suppress(NotFound):
                return self.image(image)
        from . import registries

        return registries.source(self.image, self.store, image, policy=policy, platform=platform, on_event=on_event)

    def images(self, name: str = "", *, filters: Sequence[str] = ()) -> tuple[Image, ...]:
        """Every tag, newest first, then the images without one; only those of a name or pattern, and that all filters fit.

        ``filters`` are docker's: dangling=, label=, before=, since=, until=, reference=.
        """
        found = self.store.images.list()
        if not name and not filters:
            return found
        from . import listing

        return listing.select(found, name, filters, self.store.images.resolve)

    def toolbox(self, extra: Sequence[str] = (), *, on_event: Observer = ignore) -> Image:
        """Make the offline base image from this host's own programs, and those of ``extra``; tagged ``toolbox``."""
        from ..store import toolbox

        return toolbox.build(self.store, extra=extra, on_event=on_event)

    def tag(self, image: str | Image, name: str) -> Image:
        """Give an image another name, with its images for other platforms; an image that had it keeps its other names."""
        from ..store import variants

        found = self.image(image)
        tagged = self.store.images.tag(found, Reference.parse(name), top=variants.top(self.store, found))
        self._happen("tag", tagged)
        return tagged

    def remove_image(self, name: str | Image, *, force: bool = False, prune: bool = True) -> tuple[str, ...]:
        """Take a name away, and with the last one the image; what was done, in Docker's words.

        Of an Image its name is taken, or its ID where it has none or the name stands for another one by now. Without ``prune``
        its layers stay in the store until something else prunes it.

        Raises:
            Conflict: a container was made from it, or it has several names and was called by its ID; ``force`` takes them away.
        """
        from . import upkeep

        if isinstance(name, Image):
            name = self._called(name)
        in_use = {Digest(text) for text in upkeep.held(self.store.root).blobs}
        image = self.store.images.resolve(name)
        done = self.store.images.remove(name, force=force, in_use=in_use, keep_layers=not prune)
        self._happen("untag", image)
        if any(line.startswith("Deleted:") for line in done):
            self._happen("delete", image)
        return done

    def _called(self, image: Image) -> str:
        with contextlib.suppress(NotFound):
            if image.reference and self.store.images.resolve(str(image.reference)).id == image.id:
                return str(image.reference)
        return image.id

    def named_digest(self, image: Image) -> Digest:
        """The digest that an image's name stands for: that of the index which it was chosen from, where it was one of several."""
        with contextlib.suppress(NotFound):  # another process may have taken the name away
            if image.reference:
                return self.store.images.tags.read(image.reference).descriptor.digest
        return image.descriptor.digest

    def inspect_image(self, name: str | Image) -> dict[str, Any]:
        """All that is known of an image, by Docker's keys."""
        subject = self.store.images.resolve(name) if isinstance(name, str) else name
        names = [image.reference for image in self.images() if image.reference and image.id == subject.id]
        tags = sorted(name.familiar for name in names if name.tag)
        digests = {f"{name.familiar_name}@{self.store.images.tags.read(name).descriptor.digest}" for name in names}
        tagged = max((tag.tagged for tag in self.store.images.tags if tag.reference in names), default=0)
        placed, size = whereabouts.image(self.store, subject), sum(self.layer_sizes(subject))
        return inspect.image(subject, tags, sorted(digests), placed, size=size, tagged=tagged)

    def save(
        self,
        names: Iterable[str | Image],
        stream: IO[bytes],
        *,
        form: ArchiveForm = "both",
        platform: str | None = None,
        on_event: Observer = ignore,
    ) -> None:
        """Write images to an archive: an OCI layout (``oci``), Docker's older format (``docker``), or both at once.

        A name of images for several platforms keeps them all where all are here, but in Docker's format, which has one for a name.

        Raises:
            NotFound: an image is not here, or not for the platform.
        """
        from ..store import archive

        wanted = platforms.parse(platform) if platform else None
        images = [self.image(name) for name in kinds.several("names", names)]
        archive.save(self.store, images, stream, form=form, platform=wanted, on_event=on_event)

    def load(
        self, source: str | Path | IO[bytes], *, platform: str | None = None, on_event: Observer = ignore
    ) -> tuple[Image, ...]:
        """Read the images of an archive (OCI layout or Docker's format), or of an OCI layout in a folder.

        The archive may be compressed by gzip, zstd, bzip2 or xz. Nothing is tagged unless every blob is whole. With a platform
        only the images for it are taken; those that have none are told of.

        Raises:
            NotFound: there is nothing at the path, or no image for the platform.
            IntegrityError: what is there is no archive of images, or a damaged one.
        """
        from ..store import archive

        wanted = platforms.parse(platform) if platform else None
        with contextlib.ExitStack() as stack:
            where = Path(source) if isinstance(source, str) else source
            if isinstance(where, Path) and not where.is_dir():
                try:
                    where = stack.enter_context(where.open("rb"))
                except FileNotFoundError:
                    raise NotFound(f"no archive at {source}", hint="name a file that 'save' has written") from None
            images = archive.load(self.store, where, platform=wanted, on_event=on_event)
        self.keep_within(on_event=on_event)
        for image in images:
            self._happen("load", image)
        return images

    def import_(
        self,
        source: str | Path | IO[bytes],
        tag: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
        compression: Compression = "gzip",
        on_event: Observer = ignore,
    ) -> Image:
        """Make an image of one layer from a tar of a root file system, as ``export`` writes it.

        Args:
            source: a file, an http or https address, or a stream; compressed or not.
            tag: what to call the image.
            changes: instructions that set its configuration, such as ``CMD ["sh"]``.
            message: stands in its history.
            platform: what it is for, ``linux/arm64``; this host without it.
            compression: of its layer.
            on_event: told of the progress, in this thread.

        Raises:
            IntegrityError: it is no archive of files, or a hostile one.
            DockerfileError: a change cannot be read.
        """
        from . import derived

        reference = Reference.parse(tag) if tag else None
        image = derived.import_(
            self.store,
            source,
            reference,
            changes=changes,
            message=message,
            platform=platform,
            compression=compression,
            on_event=on_event,
        )
        self.keep_within(on_event=on_event)
        return image

    def history(self, name: str | Image) -> tuple[tuple[History, Descriptor | None], ...]:
        """Each line of an image's history with the layer that it made, from the base up; a layer without a line has an empty one."""
        return self.store.images.history(self.image(name))

    def layer_sizes(self, name: str | Image) -> tuple[int, ...]:
        """The bytes of the files of each layer of an image, from the base up, as Docker counts; ``Image.size`` is what is stored.

        Of a layer that is not unpacked, as after ``load``, it is the size of its tar.
        """
        from ..store import sizes

        return sizes.layers(self.store, self.image(name))

    def variant(self, name: str | Image, platform: str) -> Image:
        """The image of a name for exactly this platform: NotFound if the store has none."""
        from ..store import variants

        return variants.choose(self.store, self.image(name), platforms.parse(platform))

    def layers(self, name: str | Image) -> LayerStack:
        """What each layer of an image holds."""
        from ..analysis import stack

        return stack.layer_stack(self.store, self.image(name))

    def image_diff(self, before: str | Image, after: str | Image) -> ImageDiff:
        """In what two images differ: files, settings and packages."""
        from ..analysis import difference

        return difference.image_diff(self.store, self.image(before), self.image(after))
