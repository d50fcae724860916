"""The engine: images from the store, processes from the runtime, and the only thing that front ends talk to."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack

from ..errors import NotFound
from ..events import Observer, ignore
from ..oci.descriptor import Digest
from ..oci.image import Image
from ..oci.reference import Reference
from ..results import BuildResult, ContainerState, DiskUse, HostReport, ImageDiff, LayerStack, Pruned, StoreCheck
from . import inspect
from . import options as words
from .container import LIVE, Container
from .names import ContainerNames

if TYPE_CHECKING:
    from ..runtime.host import Host
    from ..runtime.process import Runtime
    from ..store.store import Store

TOOLBOX = Reference.parse("toolbox")


def _held(root: Path) -> frozenset[str]:
    """What containers and the build cache need of a store."""
    from ..build import records
    from . import upkeep

    return upkeep.held(root) | records.kept(root)


class Engine:
    """A store of images and containers, and the means to build and run them.

    ``root`` is the store's folder; without it ``$NBCONTAINERS_ROOT`` or the first place that can hold one is used (``host()``
    says which). Nothing lives in the engine alone: a second engine on the same folder sees and controls the same containers.
    Use it as a context manager, or ``close`` it: containers started in the foreground end with it.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self._root = Path(root).expanduser().absolute() if root is not None else None

    # -- the parts, each made when it is first needed ------------------------------------------------------------------

    @functools.cached_property
    def _host(self) -> Host:
        from ..runtime import host

        return host.probe()

    @functools.cached_property
    def store(self) -> Store:
        """Bytes at rest: opened, and made where it is not there yet."""
        from ..store import root
        from ..store.store import Store

        return Store(self._root or root.choose(os.environ).path, identity=self._host.identity, holders=(_held,))

    @functools.cached_property
    def _runtime(self) -> Runtime:
        from ..runtime import rundir
        from ..runtime.process import Runtime

        return Runtime(rundir.choose(os.environ), self._host)

    @functools.cached_property
    def _names(self) -> ContainerNames:
        return ContainerNames(self.store.root)

    def close(self) -> None:
        """End the foreground containers and the engine's own processes; the engine can be used again."""
        for part in ("_runtime", "store"):
            if part in self.__dict__:
                getattr(self, part).close()
        for part in ("_runtime", "_names", "store", "_host"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- images --------------------------------------------------------------------------------------------------------

    def build(
        self,
        dockerfile: str | Path,
        *,
        context: str | Path | None = None,
        tag: str = "",
        args: Mapping[str, str] | None = None,
        target: str = "",
        no_cache: bool = False,
        on_event: Observer = ignore,
    ) -> BuildResult:
        """Make an image from a Dockerfile: text as ``str``, a file as ``Path``.

        Args:
            dockerfile: the text, or the file that holds it.
            context: the folder that COPY and ADD read; without it they are an error.
            tag: what to call the image; nothing is tagged unless the whole build succeeds.
            args: values for ARG.
            target: the stage to build up to, by name or number.
            no_cache: execute every step again.
            on_event: told of steps and output as they come, in this thread.

        Raises:
            DockerfileError: the text cannot be built; ``lines`` says where.
            BuildError: a RUN failed; it has the step, its lines, the exit code and the end of the output.
        """
        from ..build import solver
        from ..build.context import Context

        reference = Reference.parse(tag) if tag else None
        file = dockerfile.absolute() if isinstance(dockerfile, Path) else None
        text = file.read_text(encoding="utf-8") if file else str(dockerfile)
        digests = self.store.root / "cache" / "digests"
        with self.store.lease():  # what is built is not collected before it is tagged
            result = solver.build(
                text,
                store=self.store,
                runtime=self._runtime,
                host=self._host,
                resolve_toolbox=lambda: self.toolbox(on_event=on_event),
                context=Context.open(Path(context), dockerfile=file, digests=digests) if context is not None else None,
                arguments=args,
                target=target,
                no_cache=no_cache,
                epoch=words.source_date_epoch(os.environ),
                on_event=on_event,
            )
            if reference:
                result = replace(result, image=self.store.images.tag(result.image, reference))
        self.keep_within(on_event=on_event)
        return result

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

    def images(self) -> tuple[Image, ...]:
        """Every tag, newest first, then the images without one."""
        return self.store.images.list()

    def toolbox(self, extra: Sequence[str] = (), *, on_event: Observer = ignore) -> Image:
        """Make the offline base image from this host's own programs, and those of ``extra``; tagged ``toolbox``."""
        from ..store import toolbox

        return toolbox.build(self.store, extra=extra, on_event=on_event)

    def tag(self, image: str | Image, name: str) -> Image:
        """Give an image another name; an image that had it keeps its other names."""
        return self.store.images.tag(self.image(image), Reference.parse(name))

    def remove_image(self, name: str, *, force: bool = False, prune: bool = True) -> tuple[str, ...]:
        """Take a name away, and with the last one the image; what was done, in Docker's words.

        Without ``prune`` its layers stay in the store until something else prunes it.

        Raises:
            Conflict: a container was made from it, or it has several names and was called by its ID; ``force`` takes them away.
        """
        from . import upkeep

        in_use = {Digest(text) for text in upkeep.held(self.store.root)}
        return self.store.images.remove(name, force=force, in_use=in_use, keep_layers=not prune)

    def inspect_image(self, name: str | Image) -> dict[str, Any]:
        """All that is known of an image, by Docker's keys."""
        subject = self.store.images.resolve(name) if isinstance(name, str) else name
        tags = sorted(image.reference.familiar for image in self.images() if image.reference and image.id == subject.id)
        return inspect.image(subject, tuple(tags))

    def save(self, names: Iterable[str | Image], stream: IO[bytes]) -> None:
        """Write images to an archive that is an OCI layout and Docker's format at once."""
        from ..store import archive

        archive.save(self.store, [self.image(name) for name in names], stream)

    def load(self, stream: IO[bytes], *, on_event: Observer = ignore) -> tuple[Image, ...]:
        """Read the images of an archive (OCI layout or Docker's format); nothing is tagged unless every blob is whole."""
        from ..store import archive

        images = archive.load(self.store, stream, on_event=on_event)
        self.keep_within(on_event=on_event)
        return images

    def layers(self, name: str | Image) -> LayerStack:
        """What each layer of an image holds."""
        from ..analysis import stack

        return stack.layer_stack(self.store, self.image(name))

    def image_diff(self, before: str | Image, after: str | Image) -> ImageDiff:
        """In what two images differ: files, settings and packages."""
        from ..analysis import difference

        return difference.image_diff(self.store, self.image(before), self.image(after))

    # -- containers ----------------------------------------------------------------------------------------------------

    def run(
        self, image: str | Image, *command: str, detach: bool = False, **options: Unpack[words.RunOptions]
    ) -> Container:
        """Make a container from an image and start it; it is returned once its program runs.

        ``attach`` streams its output, ``wait`` gives its exit code. It ends with this engine unless ``detach`` is set. The
        keywords are those of ``RunOptions``, docker's words.

        Raises:
            NotFound: there is no such image.
            LaunchError: it could not be started; ``exit_code`` is Docker's 125, 126 or 127.
        """
        container = self.create(image, *command, **options)
        try:
            container.start(detach=detach)
        except BaseException:
            with contextlib.suppress(NotFound):
                container.remove(force=True)
            raise
        return container

    def create(self, image: str | Image, *command: str, **options: Unpack[words.RunOptions]) -> Container:
        """Make a container from an image and leave it to be started."""
        from . import creation

        words.check(options)
        source = self.image(image)
        return creation.create(
            source,
            image if isinstance(image, str) else source.name,
            command,
            options,
            store=self.store,
            names=self._names,
            runtime=self._runtime,
        )

    def containers(self, *, all: bool = False) -> tuple[Container, ...]:
        """The running containers, or with ``all`` every one, newest first; those that only waited for their removal are removed."""
        found = []
        for identifier in self._names.ids():
            container = Container(self.store, self._names, self._runtime, identifier)
            with contextlib.suppress(NotFound):
                state = container.state
                if state.auto_remove and state.status == "exited":
                    container.remove()
                elif all or state.status in LIVE:
                    found.append((state.created, container))
        return tuple(container for _, container in sorted(found, key=lambda pair: pair[0], reverse=True))

    @property
    def departed(self) -> tuple[ContainerState, ...]:
        """The last states of the containers that this engine has removed, the latest last; only so many are remembered."""
        return tuple(self._names.departed)

    def container(self, name: str) -> Container:
        """The container that a name, an ID or the beginning of an ID stands for."""
        return Container(self.store, self._names, self._runtime, self._names.find(name))

    # -- the store's upkeep --------------------------------------------------------------------------------------------

    def prune(
        self,
        kinds: Sequence[str] = ("containers", "images", "cache"),
        *,
        all: bool = False,
        filters: Sequence[str] = (),
    ) -> Pruned:
        """Remove what is not used, and what killed processes left.

        Args:
            kinds: of ``containers`` those that do not run, of ``images`` those without a name, of the build ``cache`` the steps whose
                layers no image has.
            all: every image that no container was made from, and the whole build cache.
            filters: Docker's ``until=24h``, ``label=KEY[=VALUE]`` and ``label!=KEY[=VALUE]``. What is older than ``until`` goes: by when
                it was made, a step of a build by when it was last used. The build cache has no labels, so that with those it stays.

        Raises:
            IntegrityError: an image is damaged, so what it needs cannot be told; no image is removed.
        """
        from . import upkeep

        return upkeep.prune(self.store, self._every(), kinds=kinds, all=all, filters=filters)

    def disk_use(self) -> tuple[DiskUse, ...]:
        """What images, containers, unpacked layers and the build cache take of the disk, and what of that is not used."""
        from . import upkeep

        return upkeep.disk_use(self.store, self._every())

    def sizes(self) -> tuple[tuple[ContainerState, int], ...]:
        """Every container's state with the bytes that it has written, newest first."""
        states = [container.state for container in self.containers(all=True)]
        return (
            tuple(zip(states, self.store.worker.measure([state.id for state in states]), strict=True)) if states else ()
        )

    def keep_within(self, limit: int | None = None, *, on_event: Observer = ignore) -> Pruned:
        """Remove what can be made again, until the store takes no more than ``limit`` bytes.

        Without a limit that of $NBCONTAINERS_DISK_LIMIT holds, and with neither nothing is done. Whatever brings an image into the
        store calls it at its end.
        """
        if limit is None and not os.environ.get("NBCONTAINERS_DISK_LIMIT"):
            return Pruned()
        from . import upkeep

        most = upkeep.limit_of(os.environ) if limit is None else limit
        return upkeep.keep_within(self.store, most or 0, on_event=on_event)

    def check(self, *, repair: bool = False, on_event: Observer = ignore) -> StoreCheck:
        """Read everything in the store and tell what is not as it should be; with ``repair`` make again what can be.

        The index, unpacked layers and blobs of layers that were made here are made anew. A damaged blob that cannot be is put
        aside, so that loading, pulling or building its image brings a good one.
        """
        from . import upkeep

        return upkeep.check(self.store, self._every(), repair=repair, on_event=on_event)

    def _every(self) -> tuple[Container, ...]:
        """All containers, also those whose state cannot be read."""
        return tuple(Container(self.store, self._names, self._runtime, identifier) for identifier in self._names.ids())

    # -- this host -----------------------------------------------------------------------------------------------------

    def host(self) -> HostReport:
        """What this host allows, found by trying: the isolation tier, and what cannot be enforced here."""
        return replace(self._host.report(), store=str(self.store.root))
