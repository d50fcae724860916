"""One container: its state is on disk, so any process may hold one of these for it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Unpack

from ..errors import Conflict, Detached, NBContainersError, NotFound
from ..events import Observer, Output, ignore
from ..linux import smallfiles
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.runtime import RuntimeSpec
from ..results import Change, ContainerState, Network, ProcessList, Usage
from . import connecting, entering, inspect, networking, policies, sharing, userns, whereabouts
from . import volumes as volumes_
from .asked import Asked
from .names import ContainerNames
from .networks import NetworkFiles
from .options import RunOptions
from .publish import Port

if TYPE_CHECKING:
    from ..runtime.execution import Execution
    from ..runtime.meters import Meter
    from ..runtime.process import Runtime
    from ..runtime.running import Running
    from ..store.store import Store
    from . import carriage

CONFIG = "config.json"
INTERRUPT_GRACE = (
    0.5  # seconds that an interrupted container has to end by itself: a notebook's cell should stop within one
)
STOP_TIMEOUT = 10.0  # seconds, as Docker has it
LIVE = ("running", "paused", "restarting")


class Container:
    """A container of one store, known by its ``id`` (64 hexadecimal digits); ``state`` is all that is known of it.

    ``last_state`` is what was last read: it stays when the container is removed.
    """

    def __init__(self, store: Store, names: ContainerNames, runtime: Runtime, identifier: str) -> None:
        self.id = identifier
        self.last_state: ContainerState | None = None
        self._store = store
        self._names = names
        self._runtime = runtime
        self._folder = names.folder(identifier)
        self._started: Running | None = None

    def __repr__(self) -> str:
        return f"<Container {self.name} ({self.id[:12]})>"

    @property
    def state(self) -> ContainerState:
        """What is on disk of it, repaired where it cannot be true any more: NotFound once it is removed."""
        from ..runtime import state

        self.last_state = state.load_state(self._folder)
        return self.last_state

    @property
    def name(self) -> str:
        """What it is called."""
        return (self.last_state or self.state).name

    @functools.cached_property
    def spec(self) -> RuntimeSpec:
        """The runtime specification that it was made with."""
        return RuntimeSpec.from_json(json.loads((self._folder / CONFIG).read_bytes()))

    @functools.cached_property
    def asked(self) -> Asked:
        """What was asked for when it was made, beside what the specification says."""
        return Asked.load(self._folder)

    def write(self, spec: RuntimeSpec, state: ContainerState) -> None:
        """Write what the container is, once, when it is made: its config.json, then the state that makes it one."""
        from ..runtime import state as states

        smallfiles.write(f"{self._folder}/{CONFIG}", spec.to_text().encode())
        states.new_state(self._folder, state)
        self.last_state = state
        self._happen("create")
        self.spec = spec  # the very object: a system call policy is compiled once for each

    # -- its life ------------------------------------------------------------------------------------------------------

    def start(self, *, detach: bool = False) -> None:
        """Start it, if it does not run; it ends with this process unless ``detach`` is set.

        Raises:
            Conflict: it runs already.
            LaunchError: it could not be started.
        """
        from ..runtime import happenings

        state = self.state
        if state.status in LIVE:
            raise Conflict(
                f"container {state.name} is already running",
                hint=f"'nbcontainers logs -f {state.name}' shows what it does",
            )
        from ..runtime.groups import CHANGES

        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{CHANGES}")  # of an earlier run
        rootfs = self._store.snapshots.mounts(self.id)
        if userns.is_mapped(self.spec, self._runtime.host):
            rootfs = userns.mapped(rootfs)
        with networking.connected(
            networking.load(self._folder),
            self._folder,
            state,
            self.spec.hostname,
            files=NetworkFiles(self._store.root),
            names=self._names,
            networks=self._runtime.networks(self._store.root),
            lives_in=sharing.lives_in(self.spec),
        ) as connection:
            self._started = self._runtime.start(
                self._folder,
                sharing.resolve(self.spec, self._other),
                rootfs,
                state=replace(state, ports=connection.ports),
                user=state.user,
                groups=self.asked.host_config.get("GroupAdd") or (),
                stdin=state.interactive,
                detach=detach,
                size=entering.window(),
                happenings=str(self._store.root / happenings.NAME),
                entered=connection.entered,
                network=connection.network,
                not_enforced=connection.not_enforced,
                lacks=connection.lacks,
            )

    def attach(self, on_event: Observer = ignore, *, stdin: BinaryIO | int | None = None, detach_keys: str = "") -> int:
        """Tell the observer what it writes until it ends, and return its exit code.

        Whoever started it gets everything from the first byte on, others what comes from now on. An interrupt, or any other
        exception of the observer, ends a container that was started here: first asked, and killed after half a second.

        Raises:
            Detached: ``detach_keys`` (``ctrl-p,ctrl-q``) were read from ``stdin``: it goes on by itself, whoever started it.
        """
        from ..runtime import keys

        running = self._running
        try:
            code = running.attach(on_event, stdin, detach_keys=keys.parse(detach_keys))
        except Detached:
            self._started = None
            raise
        except BaseException:
            if self._started is not None:
                with contextlib.suppress(NBContainersError):
                    running.stop(INTERRUPT_GRACE)
                self._end()
            raise
        self._end()
        return code

    def exec(
        self,
        *command: str,
        env: Sequence[str] | Mapping[str, str] = (),
        workdir: str = "",
        user: str = "",
        interactive: bool = False,
        tty: bool = False,
        privileged: bool = False,
        detach: bool = False,
    ) -> Execution:
        """Run a further command in it, with what it was given: namespaces, limits, capabilities, system call policy.

        ``attach`` streams its output, ``wait`` gives its exit code; it ends when this process lets go of it, unless ``detach``
        is set. ``env``, ``workdir`` and ``user`` are the container's own where they are not given. ``interactive`` gives it
        a standard input, ``tty`` a terminal, ``privileged`` every capability that this host can give.

        Raises:
            Conflict: the container does not run, or is paused.
            LaunchError: it could not be started; ``exit_code`` is Docker's 126 or 127.
        """
        wish = entering.wish(
            command,
            self._runtime.host,
            env=env,
            workdir=workdir,
            user=user,
            tty=tty,
            privileged=privileged,
            detach=detach,
        )
        return self._running.exec(wish, stdin=interactive)

    def resize(self, rows: int, columns: int) -> None:
        """Say how large the window of its terminal is; nothing happens if it has none."""
        self._running.resize(rows, columns)

    def handles(self, signal: str | int) -> bool:
        """Whether its first process has a handler for a signal: if not, the kernel keeps the signal from it."""
        return entering.handles(self.state, signal_number(signal))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended: TimeoutError if that is not within ``timeout`` seconds."""
        code = self._running.wait(timeout)
        self._end()
        return code

    def stop(self, timeout: float | None = None, *, signal: str | int = "") -> int:
        """Ask it to end with its stop signal, kill it after ``timeout`` seconds, and return its exit code.

        Without them the container's own are taken: ``stop_timeout`` and ``stop_signal``, else ten seconds and TERM. However its
        restart policy is, it stays stopped.
        """
        wait = timeout if timeout is not None else self.state.stop_timeout
        code = self._running.stop(STOP_TIMEOUT if wait is None else wait, signal_number(signal or self.stop_signal))
        self._happen("stop")
        self._end()
        return code

    @property
    def stop_signal(self) -> str:
        """The signal that asks it to end."""
        return self.spec.annotations.get("org.opencontainers.image.stopSignal") or "TERM"

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to its first process: Conflict if it does not run. One that ends it for good, ends its restarts too."""
        number = signal_number(signal)
        if number in (signals.SIGKILL, signal_number(self.stop_signal)):
            self._running.give_up()
        self._running.signal(number)
        self._happen("kill", signal=str(number))

    def restart(self, timeout: float | None = None) -> None:
        """Stop it if it runs (see ``stop``), and start it again, detached: it goes on without this process."""
        if self.state.status in LIVE:
            wait = timeout if timeout is not None else self.state.stop_timeout
            self._running.stop(STOP_TIMEOUT if wait is None else wait, signal_number(self.stop_signal))
        if self._started is not None:
            self._started.close()
            self._started = None
        self.start(detach=True)
        self._happen("restart")

    def pause(self) -> str:
        """Stop every process of it where it stands; what is returned says if that is less than a freezer does, else it is empty.

        Raises:
            Conflict: it does not run, or is paused already.
        """
        from ..runtime import pausing

        how = pausing.pause(self._folder)
        self._happen("pause")
        return how

    def unpause(self) -> None:
        """Let it go on: Conflict if it is not paused."""
        from ..runtime import pausing

        pausing.unpause(self._folder)
        self._happen("unpause")

    def rename(self, name: str) -> None:
        """Call it otherwise: Conflict if another container has the name."""
        from ..runtime import state as states

        before = self.state.name
        if name == before:
            raise Conflict(f"container {before} is called that already", hint="choose another name")
        self._names.claim(self.id, name)
        connecting.rename(self._runtime.networks(self._store.root), self.state, name)
        self.last_state = states.change(self._folder, name=name)
        self._names.release(self.id, before)
        self._happen("rename", oldName=before)

    def top(self, *options: str) -> ProcessList:
        """Its processes as ``ps`` lists them, with ps's options ``-ef`` or ``-o`` and names of columns: Conflict if it does not run."""
        from ..runtime import pausing
        from . import ps

        state = self.state
        if not state.pid:
            raise Conflict(f"container {state.name} is not running")
        return ps.table(pausing.members(state.pid), options, folder=str(self._folder))

    def update(self, **options: Unpack[RunOptions]) -> None:
        """Change its limits and its restart policy, by docker update's words: at once if it runs, and for each later start.

        Raises:
            HostError: it runs, and nothing here can hold it to them; nothing was changed then.
        """
        from ..runtime import state as states
        from . import updating

        state, host = self.state, self._runtime.host
        if policy := options.pop("restart", ""):
            self._change_restart(policies.restart(policy), state)
        if not options:
            return
        after, now = updating.changed(self.spec.resources, options)
        spec = replace(self.spec, resources=after)
        if state.status in LIVE:
            updating.apply(host, state, states.load_extra(self._folder), now)
            updating.tell(self._folder, spec, self.id, host)
        self.spec = spec
        new = self._folder / f".{CONFIG}"
        new.write_text(self.spec.to_text())
        new.rename(self._folder / CONFIG)

    def _change_restart(self, policy: tuple[str, int], state: ContainerState) -> None:
        from ..runtime import state as states

        if policy[0] != "no" and state.auto_remove:
            raise Conflict(f"container {state.name} is removed at its end, so it cannot be started again")
        states.change(self._folder, restart=policy)
        self._running.change_restart(policy)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with all that it changed; with ``force`` also if it runs, else Conflict.

        ``volumes`` takes its anonymous volumes along, as those of a container under ``rm`` always are.
        """
        state = self.state
        if state.status in LIVE:
            if not force:
                raise Conflict(
                    f"container {state.name} is running",
                    hint=f"stop it first, or use force: 'nbcontainers rm -f {state.name}'",
                )
            self._running.stop(0)
            state = self.state
        self._remove(state, volumes=volumes or state.auto_remove)

    def _remove(self, state: ContainerState, *, volumes: bool) -> None:
        """Remove it, which has ended."""
        points = self.asked.mounts if volumes else ()
        self._names.departed.append(state)  # before it is gone: who watches it finds out how it ended
        if self._started is not None:
            self._started.close()
            self._started = None
        self._store.snapshots.remove(self.id)
        self._store.rubbish.take(str(self._folder))
        self._names.release(self.id, state.name)
        userns.release(self._store.root, self.id)
        volumes_.forget(self._store, self._names, points)
        self._happen("destroy")

    def _happen(self, action: str, **attributes: str) -> None:
        """Note for ``Engine.events`` what happened to it."""
        from ..runtime import happenings

        state = self.last_state
        subject = (
            {"id": self.id, "labels": state.labels, "image": state.image, "name": state.name}
            if state
            else {"id": self.id}
        )
        happenings.note(str(self._store.root / happenings.NAME), "container", action, subject, attributes)

    def connect(self, network: Network, **place: Unpack[networking.PlaceSettings]) -> None:
        """Put it on one more network, at once if it runs and at each later start."""
        wanted = networking.place(network.name, place)
        holder = self._runtime.networks(self._store.root)
        hostname = self.spec.hostname
        connecting.connect(network, wanted, self._folder, self.state, hostname, NetworkFiles(self._store.root), holder)

    def disconnect(self, network: Network, *, force: bool = False) -> None:
        """Take it off a network, at once if it runs and for each later start; ``force`` also where it is not on it."""
        holder = self._runtime.networks(self._store.root)
        connecting.disconnect(network, self._folder, self.state, self.spec.hostname, holder, force=force)

    def ports(self) -> tuple[Port, ...]:
        """Its published ports: address and port of this host, port of the container, protocol; none if it does not run."""
        state = self.state
        return state.ports if state.pid else ()

    # -- what it does and is -------------------------------------------------------------------------------------------

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Iterator[Output]:
        """What it wrote, a line or the piece of one at a time, with times; the last ``tail`` of them, and on until it ends.

        ``since`` and ``until`` are instants, in seconds since the epoch. A log has two files of 64 MiB unless ``log_opt`` says
        otherwise: what is older is gone.
        """
        from ..runtime import running

        return running.logs(self._folder, follow=follow, tail=tail, since=since, until=until)

    def usage(self) -> Usage:
        """One sample of what it uses: Conflict if it does not run."""
        return self._running.usage()

    def meter(self) -> Meter:
        """Many samples, cheaply: ``sample()`` and at the end ``close()``."""
        return self._running.meter()

    def changes(self) -> tuple[Change, ...]:
        """The paths that it changed on top of its image, sorted; what was made only to be mounted on is none of them."""
        self.state  # noqa: B018 - NotFound, if it is no more
        changes = self._store.snapshots.changes(self.id)
        stubs = {mount.destination for mount in self.spec.mounts}
        real = [change for change in changes if change.path not in stubs]
        # A folder that holds a stub counts as modified: unless something else in it changed, it did not.
        touched = {str(PurePosixPath(path).parent) for path in stubs}
        parents = {
            str(parent)
            for change in real
            if change.path not in touched
            for parent in PurePosixPath(change.path).parents
        }
        return tuple(change for change in real if change.path not in touched or change.path in parents)

    def fetch(self, path: str, target: str | IO[bytes], *, follow: bool = False, owners: bool = False) -> None:
        """Copy a file or folder of it to this host (docker cp), or as a tar archive to a stream; running or not.

        ``follow`` takes what a link leads to; ``owners`` keeps user and group numbers. Paths are resolved inside it.
        """
        from . import carriage

        with self._tree() as tree:
            carriage.fetch(tree, path, target, follow=follow, owners=owners)

    def bring(self, source: str | IO[bytes], path: str, *, follow: bool = False, owners: bool = False) -> None:
        """Copy a file or folder of this host into it (docker cp), or what a tar archive from a stream holds; running or not."""
        from . import carriage

        with self._tree() as tree:
            carriage.bring(tree, source, path, follow=follow, owners=owners)

    @contextlib.contextmanager
    def _tree(self) -> Iterator[carriage.Tree]:
        from . import carriage

        state = self.state
        is_apart = bool(state.pid) and userns.is_mapped(self.spec, self._runtime.host)
        with (
            userns.worker(self._store, self.spec) if is_apart else contextlib.nullcontext(self._store.worker) as worker
        ):
            yield carriage.Tree(worker, self._store.snapshots.mounts(self.id), state)

    def export(self, stream: IO[bytes]) -> None:
        """Write its whole file system to a stream as a tar archive."""
        self.state  # noqa: B018 - NotFound, if it is no more
        self._store.worker.export(self._store.snapshots.mounts(self.id), stream.fileno())

    def commit(self, reference: Reference | None = None, **options: Any) -> Image:
        """See ``Engine.commit``."""
        from . import derived

        return derived.commit(self._store, self._runtime, self._folder, self.state, self.spec, reference, **options)

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        """All that is known of it, by Docker's keys; with ``size`` also the bytes that it wrote, and that its files have in all."""
        state = self.state
        connection = networking.load(self._folder)
        networks = self._runtime.networks(self._store.root)
        settings = connecting.describe(connection, state, NetworkFiles(self._store.root), networks)
        placed = whereabouts.container(self._store, self._folder, state, self.asked.host_config)
        found = inspect.container(state, self.spec, self.asked, self._folder, connection, settings, placed)
        if size:
            from . import room

            found |= room.sizes(self._store, self.id)
        return found

    def _other(self, identifier: str) -> tuple[ContainerState, str]:
        other = Container(self._store, self._names, self._runtime, identifier)
        return other.state, other.asked.host_config.get("IpcMode", "")

    @property
    def _running(self) -> Running:
        return self._started or self._runtime.open(self._folder)

    def _end(self) -> None:
        """What comes after its end: a container that was not to be kept is removed."""
        with contextlib.suppress(NotFound):
            state = self.state
            if self._started is not None:  # its shim tells us first, and may not have written it yet
                state = self.last_state = self._started.told(state)
            if state.auto_remove and state.status not in LIVE:
                self._remove(state, volumes=True)


def signal_number(name: str | int) -> int:
    """A signal's number from ``9``, ``KILL`` or ``SIGKILL``: NBContainersError if there is no such signal."""
    if isinstance(name, int) or name.isdigit():
        number = int(name)
    else:
        known = {signal.name: signal.value for signal in signals.Signals}
        number = known.get(name.upper(), known.get(f"SIG{name.upper()}", 0))
    if number not in signals.valid_signals():
        raise NBContainersError(f"no such signal: {name!r}", hint="such as TERM, KILL, HUP, or a number from 1 to 64")
    return number
