"""The methods of an engine that make and find containers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

from ..errors import NotFound
from ..events import Observer, ignore
from ..oci.image import Image
from ..oci.reference import Reference
from ..results import STREAMS, ContainerState, Happening
from . import exhaustion, kinds
from . import options as words
from .container import Container
from .images import Images
from .kept import LIVE

if TYPE_CHECKING:
    from ..store.compression import Compression
    from .creation import Making


class Containers(Images):
    """An engine, as far as containers are concerned."""

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
        making = self._making(image, command, on_event, options, attached=() if detach else STREAMS)
        with self._runtime.turns.one(), making as (container, connection, parents):
            try:
                container.start_made(connection, parents, detach=detach)
            except BaseException:
                with contextlib.suppress(NotFound):
                    container.remove(force=True)
                raise
        return container

    def create(
        self,
        image: str | Image,
        *command: str,
        attached: Sequence[str] = STREAMS,
        on_event: Observer = ignore,
        **options: Unpack[words.RunOptions],
    ) -> Container:
        """Make a container from an image and leave it to be started.

        ``attached`` are the streams that its first client is to have. With ``stdin`` among them the container's own ends where that
        client's does; else another client may go on.
        """
        with self._making(image, command, on_event, options, attached=attached) as (container, _, _):
            container.write()
        return container

    def _making(
        self,
        image: str | Image,
        command: Sequence[str],
        on_event: Observer,
        options: words.RunOptions,
        *,
        attached: Sequence[str],
    ) -> contextlib.AbstractContextManager[Making]:
        from . import creation

        kinds.check(options, command)
        streams = kinds.streams(attached)
        source = self._source(image, options.get("pull") or "missing", options.get("platform"), on_event)
        called = image if isinstance(image, str) else source.name
        return creation.making(
            source,
            called,
            command,
            options,
            attached=streams,
            store=self.store,
            names=self._names,
            runtime=self._runtime,
            find=self.image,
        )

    def containers(self, *filters: str, all: bool = False) -> tuple[Container, ...]:
        """The running containers, or with ``all`` every one, newest first; those that only waited for their removal are removed.

        ``filters`` are docker's ``KEY=VALUE`` words: id, name, label, exited, status, ancestor, before, since, volume, health,
        restarting, network, publish, expose, is-task. One that asks for a status looks among all.
        """
        from . import census

        chosen = census.Census.parse(filters, self.container, self.image)
        every = all or chosen.looks_everywhere
        found = []
        for identifier in self._names.ids():
            container = Container(self.store, self._names, self._runtime, identifier)
            with contextlib.suppress(NotFound):
                state = container.state
                if state.auto_remove and state.status == "exited":
                    container.remove()
                elif (every or state.status in LIVE) and chosen.holds(container, state):
                    found.append((state.created, container))
        return tuple(container for _, container in sorted(found, key=lambda pair: pair[0], reverse=True))

    @property
    def departed(self) -> tuple[ContainerState, ...]:
        """The last states of the containers that this engine has removed, the latest last; only so many are remembered."""
        return tuple(self._names.departed)

    def container(self, name: str) -> Container:
        """The container that a name, an ID or the beginning of an ID stands for."""
        return Container(self.store, self._names, self._runtime, self._names.find(name))

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

    def events(self, *filters: str, since: float | None = None, until: float | None = None) -> Iterator[Happening]:
        """What happens to containers and images, as it comes, whoever does it; from ``since`` on and until ``until``.

        Without ``since`` from now on, without ``until`` for ever. ``filters`` are docker's: ``type=``, ``event=``,
        ``container=``, ``image=`` and ``label=``.
        """
        from . import happened

        return exhaustion.each(happened.read(self.store.root, filters, since=since, until=until))

    def _every(self) -> tuple[Container, ...]:
        """All containers, also those whose state cannot be read."""
        return tuple(Container(self.store, self._names, self._runtime, identifier) for identifier in self._names.ids())
