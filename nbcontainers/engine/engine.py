"""The engine: images from the store, processes from the runtime, and the only thing that front ends talk to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack

from ..errors import NotFound
from ..events import Observer, ignore
from ..oci import platforms
from ..oci.descriptor import Descriptor, Digest
from ..oci.image import History, Image
from ..oci.reference import Reference
from ..results import (
    BuildResult,
    CacheRecord,
    ContainerState,
    DiskUse,
    Happening,
    HostReport,
    ImageDiff,
    LayerStack,
    LintFinding,
    Network,
    Pruned,
    StoreCheck,
    VolumeState,
)
from . import building, connecting, inspect, networks, selection, volumes, whereabouts
from . import options as words
from .container import LIVE, Container
from .exchange import Exchange
from .networks import NetworkSettings

if TYPE_CHECKING:
    from ..store.archive import Form as ArchiveForm
    from ..store.compression import Compression

TOOLBOX = Reference.parse("toolbox")


class Engine(Exchange):
    """A store of images and containers, and the means to build and run them.

    ``root`` is the store's folder; without it ``$NBCONTAINERS_ROOT`` or the first place that can hold one is used (``host()``
    says which). Nothing lives in the engine alone: a second engine on the same folder sees and controls the same containers.
    Use it as a context manager, or ``close`` it: containers started in the foreground end with it.
    """

    # -- images --------------------------------------------------------------------------------------------------------

    def build(
        self,
        dockerfile: str | Path,
        *,
        context: str | Path | IO[bytes] | None = None,
        tag: str | Sequence[str] = "",
        args: Mapping[str, str] | None = None,
        target: str = "",
        no_cache: bool = False,
        pull: bool = False,
        on_event: Observer = ignore,
        **options: Unpack[building.BuildOptions],
    ) -> BuildResult:
        """Make an image from a Dockerfile: text as ``str``, a file as ``Path``. More keywords are those of ``BuildOptions``.

        Args:
            dockerfile: the text, or the file that holds it (of a context that is an archive or address: its name there).
            context: what COPY and ADD read: a folder, a tar archive, an address; without it they are an error.
            tag: what to call the image, one name or several; nothing is tagged unless the whole build succeeds.
            args: values for ARG.
            target: the stage to build up to, by name or number.
            no_cache: execute every step again.
            pull: ask the registries for newer images of FROM and ``--from``; without it they are pulled where they are missing.
            on_event: told of steps and output as they come, in this thread.

        Raises:
            DockerfileError: the text cannot be built; ``lines`` says where.
            BuildError: a RUN failed; it has the step, its lines, the exit code and the end of the output.
        """
        from ..build import whole
        from ..build.execute import Settings
        from ..build.sharing import Sharing
        from . import caching, outputs

        building.check(options)
        names = [str(Reference.parse(name)) for name in ([tag] if isinstance(tag, str) else tag) if name]
        stream = options.get("stream")
        wanted = outputs.read_all(options.get("outputs", ()), is_named=bool(names), stream=stream)
        settings = Settings(
            offers=building.offers(options.get("secrets", ()), options.get("ssh", ())),
            shm_size=building.shm_size(options.get("shm_size", 0)),
            rlimits=building.limits(options.get("ulimits", ())),
            insecure=building.insecure(options.get("allow", ())),
        )
        named = options.get("contexts", {})
        caches = caching.read_all(options.get("cache_from", ()), to=False)
        goals = caching.read_all(options.get("cache_to", ()), to=True)
        stored = any(one.is_stored for one in wanted)
        is_passing = not stored or any(map(building.is_layout, named.values()))
        rows = self.store.images.rows() if is_passing else ()
        before = frozenset(digest for row in rows for digest in (row.config, row.descriptor.digest))
        with (
            self.store.lease(),
            building.prepared(self.store, dockerfile, context, named, on_event) as prepared,
            caching.opened(self.store, caches, on_event) as places,
        ):
            sharing = Sharing(places, inline=any(goal.kind == "inline" for goal in goals))
            result = whole.build(  # what is built is not collected before it is tagged: for that is the lease
                prepared.text,
                store=self.store,
                runtime=self._runtime,
                host=self._host,
                resolve_toolbox=lambda: self.toolbox(on_event=on_event),
                find=lambda name: (
                    prepared.images.get(name) or self._source(name, "always" if pull else "missing", None, on_event)
                ),
                contexts=prepared.contexts,
                aliases=prepared.aliases,
                arguments=args,
                target=target,
                platform=building.platform(options.get("platform", "")),
                network=building.network(options.get("network", "")),
                labels=words.pairs(options.get("labels", ()), "label"),
                hosts=building.hosts(options.get("add_host", ())),
                settings=settings,
                no_cache=no_cache,
                no_cache_stages=options.get("no_cache_filter", ()),
                called=(prepared.file, *names),
                epoch=words.source_date_epoch(os.environ),
                sharing=sharing,
                on_event=on_event,
            )
            built = result.image
            result, spare = outputs.export(
                self.store,
                replace(result, names=tuple(names)),
                wanted,
                own=len(sharing.own),
                push=lambda name, insecure: self.push(name, insecure=insecure, on_event=on_event),
                stream=stream,
                on_event=on_event,
            )
            caching.export(self.store, goals, sharing, on_event)
            outputs.tell(options.get("metadata_file"), outputs.metadata_text(told := outputs.metadata(result, wanted)))
            outputs.tell(options.get("iidfile"), str(result.image.id) if told else "")
        for image in (*prepared.images.values(), *(() if stored else (built,))):  # here for this build only
            if gone := {image.id, image.descriptor.digest} - before:
                self.store.images.collect(only=gone)
        if spare:
            self.store.images.collect(only=spare, keep={result.image.descriptor.digest} if stored else ())
        self.keep_within(on_event=on_event)
        return result

    def lint(
        self,
        dockerfile: str | Path,
        *,
        context: str | Path | IO[bytes] | None = None,
        args: Mapping[str, str] | None = None,
        target: str = "",
    ) -> tuple[LintFinding, ...]:
        """What in a Dockerfile is allowed and hardly meant, by the rules and names of BuildKit's build checks; nothing is built.

        Raises:
            DockerfileError: the text cannot be built at all.
        """
        with building.prepared(self.store, dockerfile, context, {}, ignore) as prepared:
            return building.findings(prepared, self.store.images.resolve, args or {}, target)

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

    def remove_image(self, name: str, *, force: bool = False, prune: bool = True) -> tuple[str, ...]:
        """Take a name away, and with the last one the image; what was done, in Docker's words.

        Without ``prune`` its layers stay in the store until something else prunes it.

        Raises:
            Conflict: a container was made from it, or it has several names and was called by its ID; ``force`` takes them away.
        """
        from . import upkeep

        in_use = {Digest(text) for text in upkeep.held(self.store.root).blobs}
        image = self.store.images.resolve(name)
        done = self.store.images.remove(name, force=force, in_use=in_use, keep_layers=not prune)
        self._happen("untag", image)
        if any(line.startswith("Deleted:") for line in done):
            self._happen("delete", image)
        return done

    def inspect_image(self, name: str | Image) -> dict[str, Any]:
        """All that is known of an image, by Docker's keys."""
        subject = self.store.images.resolve(name) if isinstance(name, str) else name
        names = [image.reference for image in self.images() if image.reference and image.id == subject.id]
        tags = sorted(name.familiar for name in names if name.tag)
        digests = {f"{name.familiar_name}@{self.store.images.tags.read(name).descriptor.digest}" for name in names}
        tagged = max((tag.tagged for tag in self.store.images.tags if tag.reference in names), default=0)
        return inspect.image(subject, tags, sorted(digests), whereabouts.image(self.store, subject), tagged)

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
        images = [self.image(name) for name in names]
        archive.save(self.store, images, stream, form=form, platform=wanted, on_event=on_event)

    def load(
        self, source: IO[bytes] | Path, *, platform: str | None = None, on_event: Observer = ignore
    ) -> tuple[Image, ...]:
        """Read the images of an archive (OCI layout or Docker's format), or of an OCI layout in a folder.

        The archive may be compressed by gzip, zstd, bzip2 or xz. Nothing is tagged unless every blob is whole. With a platform
        only the images for it are taken; those that have none are told of.
        """
        from ..store import archive

        wanted = platforms.parse(platform) if platform else None
        images = archive.load(self.store, source, platform=wanted, on_event=on_event)
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

    def commit(
        self,
        container: str | Container,
        tag: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        compression: Compression = "gzip",
        on_event: Observer = ignore,
    ) -> Image:
        """Make an image of a container, running or not: what it was made from, and one more layer of what it changed since.

        Args:
            container: the container, or what stands for it.
            tag: what to call the image.
            author: who made it.
            message: stands in its history.
            changes: instructions that change its configuration, such as ``ENV A=1``.
            pause: keep its processes from writing meanwhile.
            compression: of the new layer.
            on_event: told of the progress, and where the container could not be paused.
        """
        subject = self.container(container) if isinstance(container, str) else container
        reference = Reference.parse(tag) if tag else None
        image = subject.commit(
            reference,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
            compression=compression,
            on_event=on_event,
        )
        self.keep_within(on_event=on_event)
        return image

    def history(self, name: str | Image) -> tuple[tuple[History, Descriptor | None], ...]:
        """Each line of an image's history with the layer that it made, from the base up; a layer without a line has an empty one."""
        return self.store.images.history(self.image(name))

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

    # -- containers ----------------------------------------------------------------------------------------------------

    def run(
        self,
        image: str | Image,
        *command: str,
        detach: bool = False,
        on_event: Observer = ignore,
        **options: Unpack[words.RunOptions],
    ) -> Container:
        """Make a container from an image and start it; it is returned once its program runs.

        ``attach`` streams its output, ``wait`` gives its exit code. It ends with this engine unless ``detach`` is set. The
        keywords are those of ``RunOptions``, docker's words. An image that is missing is pulled; ``on_event`` hears of that.

        Raises:
            NotFound: there is no such image, and it cannot be pulled.
            LaunchError: it could not be started; ``exit_code`` is Docker's 125, 126 or 127.
        """
        container = self.create(image, *command, on_event=on_event, **options)
        try:
            container.start(detach=detach)
        except BaseException:
            with contextlib.suppress(NotFound):
                container.remove(force=True)
            raise
        return container

    def create(
        self, image: str | Image, *command: str, on_event: Observer = ignore, **options: Unpack[words.RunOptions]
    ) -> Container:
        """Make a container from an image and leave it to be started."""
        from . import creation

        words.check(options)
        source = self._source(image, options.get("pull") or "missing", options.get("platform"), on_event)
        return creation.create(
            source,
            image if isinstance(image, str) else source.name,
            command,
            options,
            store=self.store,
            names=self._names,
            runtime=self._runtime,
        )

    def containers(self, *filters: str, all: bool = False) -> tuple[Container, ...]:
        """The running containers, or with ``all`` every one, newest first; those that only waited for their removal are removed.

        ``filters`` are docker's ``KEY=VALUE`` words: id, name, label, exited, status, ancestor, before, since, volume, health,
        restarting. One that asks for a status looks among all.
        """
        from . import census

        chosen = census.Census.parse(filters, self.container, self.image)
        all = all or chosen.looks_everywhere  # noqa: A001 - docker's word
        found = []
        for identifier in self._names.ids():
            container = Container(self.store, self._names, self._runtime, identifier)
            with contextlib.suppress(NotFound):
                state = container.state
                if state.auto_remove and state.status == "exited":
                    container.remove()
                elif (all or state.status in LIVE) and chosen.holds(container, state):
                    found.append((state.created, container))
        return tuple(container for _, container in sorted(found, key=lambda pair: pair[0], reverse=True))

    @property
    def departed(self) -> tuple[ContainerState, ...]:
        """The last states of the containers that this engine has removed, the latest last; only so many are remembered."""
        return tuple(self._names.departed)

    def container(self, name: str) -> Container:
        """The container that a name, an ID or the beginning of an ID stands for."""
        return Container(self.store, self._names, self._runtime, self._names.find(name))

    def events(self, *filters: str, since: float | None = None, until: float | None = None) -> Iterator[Happening]:
        """What happens to containers and images, as it comes, whoever does it; from ``since`` on and until ``until``.

        Without ``since`` from now on, without ``until`` for ever. ``filters`` are docker's: ``type=``, ``event=``,
        ``container=``, ``image=`` and ``label=``.
        """
        from . import happened

        return happened.read(self.store.root, filters, since=since, until=until)

    # -- networks ------------------------------------------------------------------------------------------------------

    def networks(self) -> tuple[Network, ...]:
        """Every network, by name; the built-in ones (bridge, host, none) among them."""
        return self._network_files.all()

    def network(self, name: str) -> Network:
        """The network that a name, an ID or the beginning of an ID stands for: NotFound if there is none."""
        return self._network_files.find(name)

    def create_network(self, name: str, **settings: Unpack[NetworkSettings]) -> Network:
        """Make a bridge network; a range of addresses that is not given is chosen. The keywords are those of ``NetworkSettings``."""
        return self._network_files.create(name, **settings)

    def remove_network(self, name: str) -> None:
        """Remove a network: Conflict while a running container is on it."""
        connecting.remove(self.network(name), self.store.root, self._runtime)

    def prune_networks(self, filters: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove the networks that no running container is on, but the built-in ones; their names. Filters are as in ``prune``."""
        chosen = selection.Selection.parse(filters, selection.PRUNING)
        return connecting.prune(self.store.root, self._runtime, chosen)

    def inspect_network(self, name: str) -> dict[str, Any]:
        """All that is known of a network, by Docker's keys."""
        return networks.to_json(self.network(name), self._runtime.networks(self.store.root).places())

    # -- volumes -------------------------------------------------------------------------------------------------------

    def create_volume(self, name: str = "", *, labels: Mapping[str, str] | None = None) -> VolumeState:
        """Make a volume, or take the one that has the name; without a name a new, anonymous one."""
        volume, _ = self.store.volumes.create(name, labels=labels)
        return self.volume(volume.name)

    def volumes(self) -> tuple[VolumeState, ...]:
        """Every volume, by name."""
        return volumes.listed(self.store, self._names)

    def volume(self, name: str) -> VolumeState:
        """The volume of that name: NotFound where there is none."""
        self.store.volumes.get(name)
        return next(entry for entry in self.volumes() if entry.name == name)

    def remove_volume(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a volume with all that is in it: Conflict where a container has it, NotFound where there is none."""
        with contextlib.suppress(*((NotFound,) if missing_ok else ())):
            volumes.remove(self.store, self._names, name)

    def prune_volumes(self, *, everything: bool = False, filters: Sequence[str] = ()) -> tuple[tuple[str, ...], int]:
        """Remove the anonymous volumes (all, with ``everything``) that no container has: (their names, bytes that they took).

        Filters are as in ``prune``.
        """
        chosen = selection.Selection.parse(filters, selection.PRUNING)
        return volumes.prune(self.store, self._names, chosen, everything=everything)

    # -- the store's upkeep --------------------------------------------------------------------------------------------

    def prune(
        self,
        kinds: Sequence[str] = ("containers", "images", "cache", "networks"),
        *,
        all: bool = False,
        filters: Sequence[str] = (),
    ) -> Pruned:
        """Remove what is not used, and what killed processes left.

        Args:
            kinds: of ``containers`` those that do not run, of ``images`` those without a name, of the build ``cache`` the steps whose
                layers no image has; of ``networks`` those that no running container is on; of ``volumes`` the anonymous ones that
                no container has.
            all: every image that no container was made from, and the whole build cache with the folders that RUN steps share.
            filters: Docker's ``until=24h``, ``label=KEY[=VALUE]`` and ``label!=KEY[=VALUE]``. What is older than ``until`` goes: by when
                it was made, a step of a build by when it was last used. The build cache has no labels, so that with those it
                stays; alone it also knows ``type=exec.cachemount`` (the folders that RUN steps share) or ``type=regular``, and ``id=``.

        Raises:
            IntegrityError: an image is damaged, so what it needs cannot be told; no image is removed.
        """
        from . import upkeep

        pruned = upkeep.prune(self.store, self._every(), kinds=kinds, all=all, filters=filters)
        if "networks" in kinds:
            pruned = replace(pruned, networks=self.prune_networks(filters))
        if "volumes" not in kinds:
            return pruned
        names, size = self.prune_volumes(filters=filters)
        return replace(pruned, volumes=names, size=pruned.size + size)

    def disk_use(self) -> tuple[DiskUse, ...]:
        """What images, containers, volumes, unpacked layers and the build cache take of the disk, and what of that is not used."""
        from . import room

        return room.disk_use(self.store, self._every(), self.volumes())

    def build_cache(self, filters: Sequence[str] = ()) -> tuple[CacheRecord, ...]:
        """What the build cache holds, by docker's filters (``until``, ``type``, ``id``), the one that was used last first."""
        from . import buildcache

        return buildcache.listed(self.store, tuple(filters))

    def sizes(self) -> tuple[tuple[ContainerState, int], ...]:
        """Every container's state with the bytes that it has written, newest first."""
        from . import room

        states = [container.state for container in self.containers(all=True)]
        return tuple(zip(states, room.written(self.store, [state.id for state in states]), strict=True))

    def keep_within(self, limit: int | None = None, *, on_event: Observer = ignore) -> Pruned:
        """Remove what can be made again, until the store takes no more than ``limit`` bytes.

        Without a limit that of $NBCONTAINERS_DISK_LIMIT holds, and with neither nothing is done. Whatever brings an image into the
        store calls it at its end.
        """
        if limit is None and not os.environ.get("NBCONTAINERS_DISK_LIMIT"):
            return Pruned()
        from . import room

        most = room.limit_of(os.environ) if limit is None else limit
        return room.keep_within(self.store, most or 0, on_event=on_event)

    def check(self, *, repair: bool = False, on_event: Observer = ignore) -> StoreCheck:
        """Read everything in the store and tell what is not as it should be; with ``repair`` make again what can be.

        The index, unpacked layers and blobs of layers that were made here are made anew, and blobs that a registry had are brought
        from there. A damaged blob that cannot be is put aside, so that loading, pulling or building its image brings a good one.
        """
        from . import upkeep

        return upkeep.check(self.store, self._every(), repair=repair, fetch=self._fetch(on_event), on_event=on_event)

    def _fetch(self, on_event: Observer) -> Callable[[Digest], bool]:
        def again(digest: Digest) -> bool:
            from . import registries

            return registries.fetch(self.store, digest, on_event=on_event)

        return again

    def _every(self) -> tuple[Container, ...]:
        """All containers, also those whose state cannot be read."""
        return tuple(Container(self.store, self._names, self._runtime, identifier) for identifier in self._names.ids())

    # -- this host -----------------------------------------------------------------------------------------------------

    def host(self) -> HostReport:
        """What this host allows, found by trying: the isolation tier, and what cannot be enforced here."""
        from . import userns

        report = userns.told(replace(self._host.report(), store=str(self.store.root)), self._host, self.store.root)
        refused = tuple((str(path), why) for path, why in self._place.refused)
        return replace(report, store_reason=self._place.reason, stores_refused=refused)
