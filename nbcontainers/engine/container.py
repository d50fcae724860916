"""One container: its state is on disk, so any process may hold one of these for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Unpack

from ..errors import Conflict, HostError, NotFound
from ..events import Observer, Output, ignore
from ..oci.image import Image
from ..oci.reference import Reference
from ..results import Change, Network, ProcessList, Usage
from . import connecting, exhaustion, inspect, kinds, networking, policies, userns, whereabouts
from .life import Life
from .networks import NetworkFiles
from .publish import Port

if TYPE_CHECKING:
    from ..runtime.meters import Meter
    from ..store.compression import Compression
    from . import carriage


class Container(Life):
    """A container of one store, known by its ``id`` (64 hexadecimal digits); ``state`` is all that is known of it.

    ``last_state`` is what was last read: it stays when the container is removed.
    """

    def top(self, *options: str) -> ProcessList:
        """Its processes as ``ps`` lists them, with ps's options ``-ef`` or ``-o`` and names of columns: Conflict if it does not run."""
        from ..runtime import pausing
        from ..runtime.state import load_extra
        from . import ps

        state = self.state
        if not state.pid:
            raise Conflict(f"container {state.name} is not running")
        self._happen("top")
        return ps.table(pausing.members(state.pid, load_extra(self._folder)), options, folder=str(self._folder))

    def ports(self) -> tuple[Port, ...]:
        """Its published ports: address and port of this host, port of the container, protocol; none if it does not run."""
        state = self.state
        return state.ports if state.pid else ()

    def exposed(self) -> tuple[str, ...]:
        """Its ports that could be published, as its image or ``--expose`` names them (80/tcp); none if it does not run."""
        if not self.state.pid or self.networks in ((), ("none",), ("host",)):
            return ()
        return tuple(self.asked.config.get("ExposedPorts") or ())

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that it is to be on, by name: ``none`` or ``host`` alone, none at all where it has another container's."""
        connection = networking.load(self._folder)
        if connection.other:
            return ()
        return tuple(place.network for place in connection.places) or (connection.mode,)

    def connect(self, network: str | Network, **place: Unpack[networking.PlaceSettings]) -> tuple[str, ...]:
        """Put it on one more network, at once if it runs and at each later start; what is returned says what this host cannot give of
        that.

        Raises:
            Conflict: it is on that network already.
            HostError: it is strict, and the network cannot lead to the world as it should.
        """
        from ..runtime import launch

        kinds.check(place, of=networking.PlaceSettings)
        files = NetworkFiles(self._store.root)
        found = files.find(network) if isinstance(network, str) else network
        wanted = networking.place(found.name, place)
        holder = self._runtime.networks(self._store.root)
        strict = self.spec.annotations.get(launch.STRICT) == "true"
        return connecting.connect(found, wanted, self._folder, self.state, self._hostname, files, holder, strict=strict)

    def disconnect(self, network: str | Network, *, force: bool = False) -> None:
        """Take it off a network, at once if it runs and for each later start; ``force`` also where nobody holds it there any more."""
        holder = self._runtime.networks(self._store.root)
        found = NetworkFiles(self._store.root).find(network) if isinstance(network, str) else network
        connecting.disconnect(found, self._folder, self.state, self._hostname, holder, force=force)

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Iterator[Output]:
        """What it wrote, a line or the piece of one at a time, with times; the last ``tail`` lines, and on until it ends.

        ``since`` and ``until`` are instants, in seconds since the epoch. A log has two files of 64 MiB unless ``log_opt`` says
        otherwise: what is older is gone.
        """
        from ..runtime import running

        return exhaustion.each(running.logs(self._folder, follow=follow, tail=tail, since=since, until=until))

    def log_details(self) -> tuple[tuple[str, str], ...]:
        """The labels and variables that ``log_opt`` chose to be told with each line, by name."""
        asked = self.asked
        variables = (word.partition("=")[::2] for word in asked.config.get("Env", ()))
        return policies.details(asked.log, self.state.labels, variables)

    def usage(self) -> Usage:
        """One sample of what it uses: Conflict if it does not run."""
        return self._running.usage()

    def meter(self) -> Meter:
        """Many samples, cheaply: ``sample()`` and at the end ``close()``."""
        return self._running.meter()

    def changes(self) -> tuple[Change, ...]:
        """The paths that it changed on top of its image, sorted; what was made only to be mounted on is none of them."""
        self._require()
        changes = self._store.snapshots.changes(self.id)
        stubs = {mount.destination for mount in self.spec.mounts}
        real = [change for change in changes if change.path not in stubs]
        # A folder that holds a stub counts as modified: unless something else in it changed, it did not.
        touched = {str(PurePosixPath(path).parent) for path in stubs}
        parents = {"/"}
        for change in real:
            parent = "" if change.path in touched else change.path.rpartition("/")[0]
            while parent and parent not in parents:
                parents.add(parent)
                parent = parent.rpartition("/")[0]
        return tuple(change for change in real if change.path not in touched or change.path in parents)

    def fetch(
        self, path: str, target: str | os.PathLike[str] | IO[bytes], *, follow: bool = False, owners: bool = False
    ) -> None:
        """Copy a file or folder of it to this host (docker cp), or as a tar archive to a stream; running or not.

        ``follow`` takes what a link leads to; ``owners`` keeps user and group numbers. Paths are resolved inside it.
        """
        from . import carriage

        with self._tree() as tree:
            carriage.fetch(tree, path, target, follow=follow, owners=owners)

    def bring(
        self, source: str | os.PathLike[str] | IO[bytes], path: str, *, follow: bool = False, owners: bool = False
    ) -> None:
        """Copy a file or folder of this host into it (docker cp), or what a tar archive from a stream holds; running or not."""
        from . import carriage

        with self._tree() as tree:
            carriage.bring(tree, source, path, follow=follow, owners=owners)

    @contextlib.contextmanager
    def _tree(self) -> Iterator[carriage.Tree]:
        from . import carriage

        state = self.state
        is_apart = bool(state.pid) and userns.is_mapped(self.spec, self._runtime.host)
        worker = userns.worker(self._store, self.spec) if is_apart else contextlib.nullcontext(self._store.worker)
        try:
            with worker as opened:
                mounts = self._store.snapshots.mounts(self.id, footed=True, volatile=state.auto_remove)
                spec = self.spec
                if self._runtime.host.is_viewed:
                    yield carriage.viewed(opened, mounts[0], state, spec, self._folder)
                    return
                binds = tuple(mount for mount in spec.mounts if mount.type in ("bind", "overlay"))
                yield carriage.Tree(opened, mounts, state, binds)
        except HostError as error:  # an overlay of what is not there any more
            if self._is_gone:
                raise NotFound(f"container {state.name} was removed meanwhile") from error
            raise

    def export(self, stream: IO[bytes]) -> None:
        """Write its whole file system to a stream as a tar archive."""
        from . import ends

        self._require()
        with ends.writable(stream) as out:
            self._store.worker.export(self._store.snapshots.mounts(self.id, footed=True), out)

    def commit(
        self,
        reference: Reference | str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        compression: Compression = "gzip",
        on_event: Observer = ignore,
    ) -> Image:
        """Make an image of it; ``reference`` is what to call that, and the other words are those of ``Engine.commit``."""
        from . import derived

        if isinstance(reference, str):
            reference = Reference.parse(reference) if reference else None
        return derived.commit(
            self._store,
            self._runtime,
            self._folder,
            self.state,
            self.spec,
            reference,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
            compression=compression,
            on_event=on_event,
        )

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        """All that is known of it, by Docker's keys; with ``size`` also the bytes that it wrote, and that its files have in all."""
        state = self.state
        connection = networking.load(self._folder)
        networks = self._runtime.networks(self._store.root)
        exposed = self.asked.config.get("ExposedPorts") or ()
        settings = connecting.describe(connection, state, NetworkFiles(self._store.root), networks, exposed)
        placed = whereabouts.container(self._store, self._folder, state, self.asked.host_config)
        found = inspect.container(state, self.spec, self.asked, self._folder, connection, settings, placed)
        if size:
            from . import room

            found |= room.sizes(self._store, self.id)
        return found
