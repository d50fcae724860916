"""The methods of a container that lead it through its life, from its start to its removal."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal as signals
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from ..errors import Conflict, Detached, IntegrityError, NBContainersError, NotFound
from ..events import Observer, ignore
from ..oci.descriptor import Digest
from ..results import ContainerState
from ..store import durable
from . import entering, inturn, kinds, networking, sharing, userns
from . import volumes as volumes_
from .asides import Asides
from .kept import LIVE
from .mounts import MountPoint
from .networking import Networking
from .networks import NetworkFiles
from .options import signal_number

if TYPE_CHECKING:
    from ..runtime.execution import Execution
    from ..runtime.running import Running

INTERRUPT_GRACE = 0.5  # seconds that an interrupted container has to end by itself: a cell should stop within one
STOP_TIMEOUT = 10.0  # seconds, as Docker has it


class _Stop(TypedDict, total=False):
    timeout: float | None


class Life(Asides):
    """A container, as far as its life is concerned."""

    def start(self, *, detach: bool = False) -> None:
        """Start it, if it does not run; it ends with this process unless ``detach`` is set.

        Raises:
            Conflict: it runs already.
            LaunchError: it could not be started.
            IntegrityError: its state cannot be read.
        """
        with inturn.alone(self._folder, waiting=self._startable):
            self._start_again(self._startable(), detach=detach)

    def _startable(self) -> ContainerState:
        """Its state, with which it can be started: Conflict where it runs, IntegrityError where that cannot be read."""
        from ..runtime.state import way_out

        state = self.state
        if state.status == "dead":
            raise IntegrityError(state.error, hint=way_out(state.name or state.id[:12]))
        if state.status == "paused":
            hint = f"'nbcontainers unpause {state.name}' lets it go on"
            raise Conflict(f"container {state.name} is paused: it cannot be started", hint=hint)
        if state.status in LIVE:
            hint = f"'nbcontainers logs -f {state.name}' shows what it does"
            raise Conflict(f"container {state.name} is already running", hint=hint)
        return state

    def _start_again(self, state: ContainerState, *, detach: bool) -> None:
        from ..runtime.groups import CHANGES

        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{CHANGES}")  # of an earlier run
        try:
            with self._runtime.turns.one():
                self._start(state, networking.load(self._folder), detach=detach)
        except NBContainersError as error:
            self._note_failure(error, state)
            raise

    def _note_failure(self, error: NBContainersError, before: ContainerState) -> None:
        """Have its state say why it was not started, where no shim came to do so; the code is the last run's if that failed."""
        from ..runtime import state as states

        with contextlib.suppress(NBContainersError, OSError):
            if (now := self.state).status not in LIVE and now.error == before.error:
                self.last_state = states.change(self._folder, error=error.message, exit_code=now.exit_code or 128)

    def start_made(self, connection: Networking, parents: Sequence[Digest], *, detach: bool) -> None:
        """Write and start it, which is being made with that connection on top of those layers."""
        self._start(self.last_state or self.state, connection, detach=detach, parents=parents)

    def _start(
        self, state: ContainerState, connection: Networking, *, detach: bool, parents: Sequence[Digest] | None = None
    ) -> None:
        from ..runtime import happenings

        def write() -> None:
            if parents is not None:
                self.write(is_starting=True)
            if not detach:  # whoever starts it in the foreground is attached before there is anything to miss
                self._happen("attach")

        # What goes with its end need not be on the disk: else each end would wait for all that anybody has written there.
        rootfs = self._store.snapshots.mounts(self.id, footed=True, parents=parents, volatile=state.auto_remove)
        if userns.is_mapped(self.spec, self._runtime.host):
            rootfs = userns.mapped(rootfs)
        if self._runtime.host.is_viewed and parents is None:
            # The last run may have closed folders that are looked into next, and the worker opens what it looks at.
            self._store.worker.kind(rootfs, "/", follow=True, root=None)
        with (
            durable.saying_when_full(self._folder),
            networking.connected(
                connection,
                self._folder,
                state,
                self._hostname,
                files=NetworkFiles(self._store.root),
                names=self._names,
                networks=self._runtime.networks(self._store.root),
                lives_in=sharing.lives_in(self.spec),
            ) as connected,
        ):
            self._started = self._runtime.start(
                self._folder,
                sharing.resolve(self.spec, self._other),
                rootfs,
                state=self._before_starts(state),
                ports=connected.ports,
                user=state.user or "0",  # for its groups and its home
                groups=self.asked.host_config.get("GroupAdd") or (),
                stdin=state.interactive,
                detach=detach,
                size=entering.window() if self.spec.process.terminal else (0, 0),
                happenings=f"{self._store.root}/{happenings.NAME}",
                entered=connected.entered,
                network=connected.network,
                not_enforced=connected.not_enforced,
                lacks=connected.lacks,
                meanwhile=write,
            )

    def attach(self, on_event: Observer = ignore, *, stdin: BinaryIO | int | None = None, detach_keys: str = "") -> int:
        """Tell the observer what it writes until it ends, and return its exit code.

        Whoever started it gets everything from the first byte on, others what comes from now on. An interrupt, or any other
        exception of the observer, ends a container that was started here: first asked, and killed after its ``stop_timeout``, by a
        second interrupt, or, where it was given none, after half a second.

        Raises:
            Detached: ``detach_keys`` (``ctrl-p,ctrl-q``) were read from ``stdin``: it goes on by itself, whoever started it.
        """
        from ..runtime import keys

        typed, running = keys.parse(detach_keys), self._running
        if self.state.status in LIVE and not running.is_held():
            self._happen("attach")
        try:
            code = running.attach(on_event, stdin, detach_keys=typed)
        except Detached:
            self.leave()
            raise
        except BaseException:
            if self._started is not None:
                self._break_off(running)
                self._end()
            raise
        self._end()
        return code

    def leave(self) -> None:
        """Let it go on by itself, as one that was started detached, where it was started here to end with this process."""
        if (started := self._started) is not None:
            self._started = None
            started.leave()

    def _break_off(self, running: Running) -> None:
        """End what was started here, as it wants to be asked; at once where somebody cannot wait for that."""
        with contextlib.suppress(NBContainersError):
            wait = self.state.stop_timeout
            try:
                running.stop(INTERRUPT_GRACE if wait is None else wait, signal_number(self.stop_signal))
            except (KeyboardInterrupt, SystemExit):
                running.stop(0)

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
            identifier=secrets.token_hex(32),
            env=env,
            workdir=workdir,
            user=user,
            tty=tty,
            privileged=privileged,
            detach=detach,
        )
        running, line = self._running, " ".join(command)
        if self.state.status == "running":
            self._happen(f"exec_create: {line}", execID=wish["id"])
            self._happen(f"exec_start: {line}", execID=wish["id"])
        return running.exec(wish, stdin=interactive)

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

        Without them the container's own are taken: ``stop_timeout`` and ``stop_signal``, else ten seconds and TERM; a negative
        timeout waits for ever. However its restart policy is, it stays stopped. One that was never started stays as it is, and its
        code is 0, as in Docker.
        """
        with inturn.beside(self._folder):
            if self.state.status == "created":
                kinds.check({"timeout": timeout}, of=_Stop)
                signal_number(signal or self.stop_signal)
                return 0
            code = self._stop(timeout, signal)
        self._end()
        return code

    def _stop(self, timeout: float | None, signal: str | int = "") -> int:
        kinds.check({"timeout": timeout}, of=_Stop)
        number, state = signal_number(signal or self.stop_signal), self.state
        wait = timeout if timeout is not None else state.stop_timeout
        if state.status in LIVE:
            self._happen("kill", signal=str(number))
        code = self._running.stop(STOP_TIMEOUT if wait is None else wait, number)
        if state.status in LIVE:
            self._happen("stop")
        return code

    @property
    def stop_signal(self) -> str:
        """The signal that asks it to end."""
        return self._own_stop_signal or "TERM"

    @property
    def _own_stop_signal(self) -> str:
        return self.spec.annotations.get("org.opencontainers.image.stopSignal", "")

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to its first process: Conflict if it does not run.

        As in Docker, its own stop signal and KILL end its restarts too, and let it go on where it is paused; so does every signal
        where neither it nor its image names one.
        """
        from ..runtime import pausing

        number, status = signal_number(signal), self.state.status
        is_meant = not self._own_stop_signal or number in (signals.SIGKILL, signal_number(self._own_stop_signal))
        if is_meant:
            self._running.give_up(ends=number == signals.SIGKILL)
        try:
            self._running.signal(number)
        except Conflict:
            if status != "restarting":
                raise
            return  # between two runs there is nobody who could get it
        if is_meant and status == "paused":
            with contextlib.suppress(Conflict):
                pausing.unpause(self._folder)
        self._happen("kill", signal=str(number))

    def restart(self, timeout: float | None = None, *, signal: str | int = "") -> None:
        """Stop it if it runs (see ``stop``), and start it again, detached: it goes on without this process.

        Where somebody else has started it again since it was stopped here, that is the start: several restarts at once are one.
        """
        before, number = self._started, signal_number(signal or self.stop_signal)
        with inturn.beside(self._folder):
            if self.state.status in LIVE:
                self._stop(timeout, number)
        with inturn.alone(self._folder):
            if self._started is before:  # else it is of a start since
                self._let_go()
            if self.state.status not in LIVE:
                self._start_again(self._startable(), detach=True)
        self._happen("restart")

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with all that it changed; with ``force`` also if it runs, else Conflict.

        ``volumes`` takes its anonymous volumes along, as those of a container under ``rm`` always are.
        """
        from ..runtime.state import StartedAgain

        while True:
            state = self.state
            if state.status in LIVE and not force:
                hint = f"stop it first, or use force: 'nbcontainers rm -f {state.name}'"
                raise Conflict(f"container {state.name} is running", hint=hint)
            try:
                if state.status in LIVE:
                    self._happen("kill", signal=str(int(signals.SIGKILL)))
                    self._running.stop(0)
                    state = self._state_told
                self._remove(state, volumes=volumes or state.auto_remove)
                return
            except StartedAgain:
                if not force:
                    raise
                self._let_go()
            except NotFound:
                if not state.auto_remove:
                    raise
                return  # whoever waited for its end was the first to do it

    def _remove(self, state: ContainerState, *, volumes: bool) -> None:
        """Remove it, which has ended: StartedAgain where somebody has started it since."""
        from ..runtime.state import end_at, parting

        points: Sequence[MountPoint] = ()
        if volumes:
            # Where it cannot be told which it had, 'volume prune' takes what nobody has.
            with contextlib.suppress(IntegrityError):
                points = self.asked.mounts
        doors = self._runtime.doors(self.id) if state.status == "dead" else ()
        for door in doors:
            end_at(door)
        with parting(self._folder, state, self._started.end if self._started is not None else {}) as (found, last):
            state = self.last_state = found
            self._names.departed.append(state)  # before it is gone: who watches it finds out how it ended
            self._let_go()
            self._store.snapshots.remove(self.id)
            self._store.rubbish.take(str(self._folder))
        for left in filter(None, (last, *doors)):  # by a shim that was killed after it had written the end
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)
        self._names.release(self.id, state.name)
        userns.release(self._store.root, self.id)
        volumes_.forget(self._store, self._names, points)
        self._happen("destroy")

    def _other(self, identifier: str) -> tuple[ContainerState, str]:
        other = Life(self._store, self._names, self._runtime, identifier)
        return other.state, other.asked.host_config.get("IpcMode", "")

    def _let_go(self) -> None:
        """Have no more to do with the run that was started here."""
        if (started := self._started) is not None:
            self._started = None
            started.close()

    @property
    def _state_told(self) -> ContainerState:
        """Its state with what the shim of the run that was started here has told of its end: that comes first, and is written after."""
        state = self.state
        self.last_state = state if self._started is None else self._started.told(state)
        return self.last_state

    def _end(self) -> None:
        """What comes after its end: a container that was not to be kept is removed."""
        from ..runtime.state import StartedAgain

        with contextlib.suppress(NotFound, StartedAgain):
            state = self.last_state
            if state is None or not state.auto_remove or self._started is None or not self._started.end:
                state = self._state_told
                if not state.auto_remove or state.status in LIVE:
                    return
            # Else it is known to have ended, and its removal reads the rest once nobody can change it any more.
            self._remove(state, volumes=True)
