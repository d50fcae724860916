"""Starting containers: one Runtime per engine, which owns the zygote and the lifelines of what runs in the foreground."""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import secrets
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import LaunchError, NBContainersError, NotFound
from ..linux import smallfiles
from ..oci.runtime import Mount, RuntimeSpec
from ..results import ContainerState
from . import hints, launch, rundir, shim
from . import state as states
from .attach import Attachment
from .host import Host
from .networks import Networks
from .plan import Plan
from .running import Running
from .turns import Turns
from .zygotes import Zygote

_PATIENCE_S = 10.0
_START_S = 60.0
_FEW = 8
_ID_BYTES = 32
_SHORT = 12  # digits by which a container is called, as in Docker
_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """Starts containers. Its zygote is spawned at the first start; threads may start containers at the same time."""

    def __init__(self, run_dir: Path, host: Host) -> None:
        """``run_dir`` is a short folder for sockets (see ``rundir.choose``).

        Raises:
            HostError: the folder is too long a name, or somebody else's.
        """
        self.host = host
        self.turns = Turns()
        self._run_dir = rundir.make(run_dir)
        self._zygote: Zygote | None = None
        self._lock = threading.Lock()
        self._foreground: set[Running] = set()
        self._networks: dict[Path, Networks] = {}
        self._most = _FEW
        self._next = ""  # what the container is called whose process may be there already
        _runtimes.add(self)

    def start(
        self,
        folder: Path,
        spec: RuntimeSpec,
        rootfs: tuple[Mount, ...],
        *,
        state: ContainerState,
        user: str = "",
        groups: Sequence[str] = (),
        stdin: bool = False,
        detach: bool = False,
        size: tuple[int, int] = (0, 0),
        happenings: str = "",
        ports: Sequence[tuple[str, int, int, str]] = (),
        entered: Sequence[tuple[int, int]] = (),
        network: int = -1,
        not_enforced: Sequence[str] = (),
        lacks: Sequence[str] = (),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Running:
        """Start a container and return once its command has been executed.

        In the foreground it ends with this process, or when the Runtime is closed; its first ``attach`` gets everything from
        the first byte on. Detached it goes on by itself.

        Args:
            folder: the container's own, which exists: state.json and log are written there.
            rootfs: how its root is mounted; the first is the root itself.
            state: what state.json says beside what only the start can tell; how a last run ended is forgotten.
            ports: those that are published.
            user: a Dockerfile's USER word, looked up inside; empty takes the specification's ids.
            entered: namespaces around the container's own, (descriptor, flags for setns) each; they stay the caller's.
            network: the descriptor of a connection by which a holder plugs it into networks; it stays the caller's.
            not_enforced, lacks: sentences for the state, beside those that the host has (see ContainerState).
            groups: further groups, names or numbers, looked up inside too.
            stdin: give it a standard input that ``attach`` feeds; else it reads nothing.
            size: rows and columns of its terminal, if it has one; zeros where they are not known.
            happenings: the file in which the shim notes what happens; none without it.
            meanwhile: called while it is made, before anything of it is on disk or runs; what it raises ends it.

        Raises:
            LaunchError: it could not be started; nothing of it is left but state.json and log.
            HostError: this host cannot run it.
            OSError: there is no room on the disk for what is written of it (ENOSPC, EDQUOT).
        """
        following = _fresh_id()
        plan = launch.compile(
            spec,
            rootfs,
            folder=folder.absolute(),
            state=state,
            host=self.host,
            socket=self.door(folder.name),
            user=user,
            groups=groups,
            stdin=stdin,
            detach=detach,
            size=size,
            happenings=happenings,
            ports=ports,
            entered=[flags for _, flags in entered],
            networked=network >= 0,
            not_enforced=not_enforced,
            lacks=lacks,
            next_name=following,
        )
        self._forget_ended()
        more = [descriptor for descriptor, _ in entered] + ([network] if network >= 0 else [])
        control, stdio = self._send(plan, more)
        self._next = following
        try:
            meanwhile()
            try:
                begin = _await_exec(control, plan)
            except ShimKilled:
                if not self._was_lost(folder, state):
                    raise
                control.close()
                if stdio is not None:
                    stdio.close()
                control, stdio = self._send(plan, more)
                begin = _await_exec(control, plan)
        except BaseException as error:
            _abandon(control)
            if isinstance(error, Cramped):
                self._end_zygote()
            if stdio is not None:
                stdio.close()
            else:  # detached, and perhaps begun before it could be called off
                late = self.open(folder)
                with contextlib.suppress(NBContainersError, TimeoutError):
                    late.signal(signal.SIGKILL)
                    late.wait(_PATIENCE_S)
            raise
        if stdio is None:
            control.close()
            return Running(folder, self.host.hierarchy)
        running = Running(
            folder,
            self.host.hierarchy,
            control=control,
            attachment=Attachment(stdio, Path(plan["log"]), begin),
        )
        with self._lock:
            self._foreground.add(running)
        return running

    def new_id(self) -> str:
        """An id for a container: 64 hexadecimal digits, never given twice. If it is the next one that is started, it starts faster."""
        with self._lock:
            following, self._next = self._next, ""
        return following or _fresh_id()

    def doors(self, container: str) -> tuple[str, ...]:
        """Where the shim of a container may listen: whoever started it had folders of his own."""
        return tuple(rundir.socket_path(path, container) for path in self._folders())

    def _folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((self._run_dir, *rundir.known())))

    def sweep(self) -> None:
        """Remove the sockets and cgroups that killed shims have left, and of which no state tells (any more), of whichever store.

        A group that has just been made may be one of a container that is being started: it is waited for until it shows.
        """
        rundir.sweep(self._folders())
        self.host.hierarchy.sweep((), waits=True)

    def door(self, container: str) -> str:
        """Where the shim of a container listens."""
        return rundir.socket_path(self._run_dir, container)

    def networks(self, store: Path) -> Networks:
        """The networks of a store's containers."""
        found = self._networks.get(store)
        if found is None:
            found = self._networks[store] = Networks(self._run_dir, store, self.host)
        return found

    def foreground(self, folder: Path) -> tuple[Running, ...]:
        """What was started in a folder, and ends with this process."""
        with self._lock:
            return tuple(running for running in self._foreground if running.folder == folder)

    def open(self, folder: Path) -> Running:
        """A container that somebody started, to attach to, wait for, signal or measure."""
        return Running(folder, self.host.hierarchy)

    def close(self) -> None:
        """End the containers in the foreground and the zygote; what is detached goes on."""
        with self._lock:
            ending, self._foreground = self._foreground, set()
            zygote_, self._zygote = self._zygote, None
        ending = {running for running in ending if running.is_held() and not running.is_over()}
        for running in ending:
            running.hang_up()
        for running in ending:
            with contextlib.suppress(TimeoutError):
                running.wait(_PATIENCE_S)
            running.close()
        if zygote_ is not None:
            zygote_.close()

    def zygote_pid(self) -> int | None:
        """The zygote's pid, None before the first start."""
        return self._zygote.pid if self._zygote is not None else None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, plan: Plan, more: Sequence[int]) -> tuple[socket.socket, socket.socket | None]:
        """Hand the plan to the zygote; return our ends of the control socket and (in the foreground) of the streams."""
        with contextlib.ExitStack() as theirs:
            memory = os.memfd_create("plan", os.MFD_CLOEXEC)
            theirs.callback(os.close, memory)
            smallfiles.write_all(memory, marshal.dumps(dict(plan), 2))  # later versions take half as long again to read
            control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.callback(far.close)
            descriptors = [memory, far.fileno()]
            stdio = None
            try:
                if not plan["detach"]:
                    stdio, far_stdio = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                    theirs.callback(far_stdio.close)
                    descriptors.append(far_stdio.fileno())
                self._hand_over([*descriptors, *more])
            except BaseException:
                control.close()
                if stdio is not None:
                    stdio.close()
                raise
            return control, stdio

    def _hand_over(self, descriptors: list[int]) -> None:
        with self._lock:
            for is_last in (False, True):
                if self._zygote is None:
                    self.host.hierarchy.sweep(())  # what may be left of a spare whose processes were killed all at once
                    self._zygote = Zygote()
                try:
                    self._zygote.send(descriptors)
                    return
                except OSError as error:  # it was killed: no container depends on it, so another takes its place
                    self._zygote.close()
                    self._zygote = None
                    if is_last and isinstance(error, ConnectionError):
                        words = "the process that was to start it (its zygote) was killed, and another one too"
                        raise LaunchError(words, stage="zygote", hint=hints.AGAIN) from error
                    if is_last:
                        raise

    def _end_zygote(self) -> None:
        """Have the next start make another."""
        with self._lock:
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()

    def _was_lost(self, folder: Path, state: ContainerState) -> bool:
        """Whether a plan went with a zygote that was killed before anything of the container ran: no run of it is on disk,
        and without that its first process does not execute the command.
        """
        zygote = self._zygote
        if zygote is not None and zygote.outlives_its_shim():
            return False
        with self._lock:
            if zygote is not None and self._zygote is zygote:
                zygote.close()  # its last shim may still hold the socket for a moment, and another plan would go with it
                self._zygote = None
        try:
            return states.load_state(folder).started == state.started
        except NotFound:  # it was being made
            return True
        except NBContainersError:
            return False

    def _forget_ended(self) -> None:
        """Hold no longer what has ended; looked for when twice as many are held as were left the last time."""
        with self._lock:
            if len(self._foreground) < self._most:
                return
            candidates = list(self._foreground)
        for running in candidates:
            if running.is_over():  # who still holds it can attach and wait as before
                with self._lock:
                    self._foreground.discard(running)
        self._most = max(_FEW, 2 * len(self._foreground))

    def _after_fork_in_child(self) -> None:
        """A forked copy of the engine (multiprocessing) must not hold its containers' lifelines, nor talk to its zygote."""
        self._lock, self.turns = threading.Lock(), Turns()
        for running in self._foreground:
            running.close()
        self._foreground = set()
        if self._zygote is not None:
            self._zygote.abandon()
            self._zygote = None


class Cramped(LaunchError):
    """What the zygote forks can open as few files as this process could when it made that."""


class ShimKilled(LaunchError):
    """Nothing was ever heard of the process that was to start the container."""


def _fresh_id() -> str:
    """An id that is a host name by its first twelve digits: one of decimal digits alone would be taken for an address."""
    while (drawn := secrets.token_hex(_ID_BYTES))[:_SHORT].isdecimal():
        pass
    return drawn


def _await_exec(control: socket.socket, plan: Plan) -> int:
    """Let the shim go on, and wait until the command runs; return where in the log this run begins. LaunchError where it does not
    come to that, OSError where the disk has no room for what the shim writes.
    """
    with contextlib.suppress(OSError):  # it is not there any more, which is heard next
        control.send(shim.GO_ON)
    control.settimeout(_START_S)
    try:
        try:
            data = control.recv(1 << 16)
        except ConnectionResetError:  # it has ended without reading that; what it said before that comes after this
            data = control.recv(1 << 16)
    except TimeoutError:
        hint = "it or its zygote may be stopped; the engine that asked for it ends both"
        raise LaunchError(
            f"nothing was heard of its shim for {_START_S:.0f} seconds", stage="shim", hint=hint
        ) from None
    control.settimeout(None)
    if not data:
        states.forget({"socket": plan["socket"], "cgroup_places": plan["cgroup_places"]})
        raise ShimKilled("the process that was to start it (its shim) was killed", stage="shim", hint=hints.AGAIN)
    message: tuple[Any, ...] = marshal.loads(data)  # noqa: S302 - from our own shim, over a private socket
    if message[0] == "started":
        return int(message[2])
    _, stage, number, words, code = message
    if stage in {"shim", "record"} and number in {errno.ENOSPC, errno.EDQUOT}:
        raise OSError(number, os.strerror(number), plan["folder"])
    kind = Cramped if number in smallfiles.NO_ROOM else LaunchError
    raise kind(
        f"{stage}: {words}",
        stage=stage,
        exit_code=code,
        hint=hints.of_start(stage, number, words),
    )


def _abandon(control: socket.socket) -> None:
    """Call a container off that is being started, or has just been, and wait until it is gone."""
    with contextlib.suppress(OSError):
        control.send(shim.CALLS_OFF)
        control.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + _PATIENCE_S
    poll = select.poll()
    poll.register(control, select.POLLIN)
    with contextlib.suppress(OSError):
        while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000) and control.recv(1 << 16):
            pass
    control.close()


def _after_fork() -> None:
    for runtime in list(_runtimes):
        runtime._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
