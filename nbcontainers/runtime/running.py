"""One started container, as any process sees it: attach, wait, signal, stop, usage, logs.

All it needs is the container's folder; the one who started it also holds two sockets to its shim: one that tells what becomes
of it (and whose closing ends a container in the foreground), and one that carries its streams from the first byte on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import marshal
import os
import signal as signals
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ..errors import Conflict, Detached, NotFound
from ..events import Observer, Output
from ..linux import cgroups
from ..results import ContainerState, Usage
from . import log, meters, pausing, processes, shim, state, waiting
from .attach import Attachment, last_lines, read_log
from .execution import LOOK_S, Execution, NotYet, ask

_PATIENCE_S = 15.0  # how long a shim may take to tell of an end
_OPENING_S = 2.0  # how long it may take from the record of a run to where it can be asked for something
_Reached = TypeVar("_Reached")


class Running:
    """A container that was started, by whomever."""

    def __init__(
        self,
        folder: Path,
        hierarchy: cgroups.Hierarchy,
        *,
        control: socket.socket | None = None,
        attachment: Attachment | None = None,
    ) -> None:
        self.folder = folder
        self._hierarchy = hierarchy
        self._control = control
        self._attachment = attachment
        self._lock = threading.Lock()
        self._exit_code: int | None = None
        self._end: dict[str, Any] = {}  # of the state, what its end has changed
        self._written = -1  # bytes that the container wrote, once it has ended

    @property
    def state(self) -> ContainerState:
        """What is on disk, repaired where it cannot be true."""
        return state.load_state(self.folder)

    def attach(
        self,
        on_event: Observer,
        stdin: BinaryIO | int | None = None,
        *,
        from_begin: bool = False,
        detach_keys: bytes = b"",
    ) -> int:
        """Tell the observer what the container writes, until it ends; return its exit code.

        Who started the container in the foreground gets everything from the first byte on, however late he attaches, and
        after an exception goes on where he was. Others get what comes from now on, or (``from_begin``) all of this run.
        The container never waits for its readers. An exception of the observer leaves the container running.

        Raises:
            Conflict: it does not run.
            Detached: ``detach_keys`` were read from ``stdin``; the container goes on by itself.
        """
        attachment = self._attachment
        if attachment is not None:
            try:
                attachment.follow(on_event, stdin, detach_keys)
            except Detached:
                self.leave()
                raise
            code = self.wait()
            if self._written != attachment.received:
                attachment.complete(on_event, self._written if self._written >= 0 else None)
            attachment.close()
            self._attachment = None
            return code
        attachment = self._reach(self._connect)
        try:
            try:
                attachment.request(all_of_it=from_begin)
            except OSError as error:
                raise _is_not_running(self.state) from error
            attachment.follow(on_event, stdin, detach_keys)
            code = self.wait()
            attachment.complete(on_event, state.load_extra(self.folder).get("written"))
        finally:
            attachment.close()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the container has ended; where it was started again meanwhile, that of the run that ends it.

        Raises:
            TimeoutError: it has not ended after ``timeout`` seconds.
            Conflict: it was never started.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with contextlib.suppress(state.StartedAgain):
                return self._wait_for_run(deadline)

    def _wait_for_run(self, deadline: float | None) -> int:
        """The exit code of the run that is now: state.StartedAgain where that of another one would be told."""
        if self._control is not None:
            while self._exit_code is None:
                waiting.wait_for(self._control.fileno(), deadline)
                self._hear(self._control)
            return self._exit_code
        extra = state.load_extra(self.folder)
        waiting.wait_for_shim(self.folder, extra, deadline)
        found = self.state
        if found.exit_code is None:
            after = state.load_extra(self.folder)
            if found.status in {"running", "paused", "restarting"} and after.get("shim") != extra.get("shim"):
                raise state.StartedAgain(f"container {found.name or found.id} was started again meanwhile")
            raise Conflict(f"container {found.name or found.id} is {found.status}, it has not been started")
        return found.exit_code

    @property
    def end(self) -> Mapping[str, Any]:
        """What of its state has changed with its end, as its shim has told this process; nothing before that."""
        return self._end

    def told(self, state: ContainerState) -> ContainerState:
        """The state with what its shim has told this process of its end, if it has: that may not be written yet."""
        return dataclasses.replace(state, **self._end)

    def is_over(self) -> bool:
        """Whether the container has ended, and be it that it was removed; costs one system call to the one who started it."""
        try:
            if self._control is not None and self._exit_code is None:
                self._hear(self._control)
                return self._exit_code is not None
            return self._control is not None or self.state.status not in {"creating", "running", "paused", "restarting"}
        except NotFound:
            return True

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process, and to no other that may have its pid later.

        Raises:
            Conflict: the container does not run.
        """
        found = self.state
        pidfd = self._open_process(found)
        try:
            signals.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            raise _is_not_running(found) from None
        finally:
            os.close(pidfd)
        if number == signals.SIGKILL and found.status == "paused":  # a v1 freezer holds even those that are to die
            with contextlib.suppress(Conflict):
                pausing.unpause(self.folder)

    def give_up(self, *, ends: bool) -> None:
        """Tell the shim that a person wants the container ended, and its restart policy not to count; ``ends``: whatever it does."""
        with contextlib.suppress(OSError, KeyError):
            ask(state.load_extra(self.folder)["socket"], {"do": "stop", "ends": ends})

    def stop(self, timeout: float = 10.0, number: int = signals.SIGTERM) -> int:
        """Ask the container to end, end it after ``timeout`` seconds (negative: never), and return its exit code.

        It is not started again.
        """
        self.give_up(ends=True)
        with contextlib.suppress(Conflict):
            pausing.unpause(self.folder)
        try:
            self.signal(number)
            try:
                return self._wait_for_run(None if timeout < 0 else time.monotonic() + timeout)
            except TimeoutError:
                self.signal(signals.SIGKILL)
        except state.StartedAgain:  # by somebody who wants it to run
            raise
        except Conflict:  # it ended by itself, a moment ago if the state does not tell yet
            found = self.state
            if found.exit_code is None and found.status not in {"running", "paused", "restarting"}:
                raise
        try:
            is_stopped = processes.is_stopped(state.load_extra(self.folder).get("shim", 0))
            return self._wait_for_run(time.monotonic() + (LOOK_S if is_stopped else _PATIENCE_S))
        except TimeoutError:
            return self._end_without_shim()

    def _end_without_shim(self) -> int:
        """End the shim of a container that was killed, where it does not do what is its to do: it was stopped, or is stuck.

        Raises:
            Conflict: the container's first process is there even after SIGKILL, as one is that waits for a disk or a server.
        """
        extra = state.load_extra(self.folder)
        found = self.state
        try:
            waiting.wait_for_process(found.pid, extra.get("start", 0), time.monotonic() + state.GONE_S)
        except TimeoutError:
            name = found.name or found.id
            raise Conflict(f"container {name} does not end: process {found.pid} is still there after SIGKILL") from None
        state.end_shim(self.folder)
        return self.wait(_PATIENCE_S)

    def meter(self) -> meters.Meter:
        """A meter for many samples; close it. Its samples raise NotFound once the container has ended.

        Raises:
            Conflict: the container does not run.
        """
        found, extra = self.state, state.load_extra(self.folder)
        if found.status not in {"running", "paused"}:
            raise _is_not_running(found)
        try:
            return meters.meter(found.pid, extra, self._hierarchy)
        except NotFound:  # it ended just now
            raise _is_not_running(found) from None

    def usage(self) -> Usage:
        """One sample of what the container uses now; Conflict where it does not run."""
        meter = self.meter()
        try:
            return meter.sample()
        finally:
            meter.close()

    def close(self) -> None:
        """Let go of the sockets: this ends a container in the foreground that still runs."""
        if self._attachment is not None:
            self._attachment.close()
        if self._control is not None:
            self._control.close()

    def __del__(self) -> None:
        self.close()

    def change_restart(self, policy: tuple[str, int]) -> None:
        """Tell the shim, if there is one, of another restart policy."""
        with contextlib.suppress(OSError, KeyError):
            ask(state.load_extra(self.folder)["socket"], {"do": "restart", "policy": policy})

    def leave(self) -> None:
        """Let a container of the foreground go on by itself, as one that was started detached."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(shim.LEAVES)
            self.close()
            self._control = self._attachment = None

    def resize(self, rows: int, columns: int) -> None:
        """Say how large the window of its terminal is; nothing happens if it has none, or does not run."""
        with contextlib.suppress(OSError, KeyError):
            ask(state.load_extra(self.folder)["socket"], {"do": "resize", "rows": rows, "columns": columns})

    def exec(self, wish: dict[str, Any], *, stdin: bool) -> Execution:
        """Enter a command into the container; see ``execution`` and ``session``."""
        return self._reach(lambda path: Execution(path, wish, stdin=stdin))

    def is_held(self) -> bool:
        """Whether this process has it in the foreground."""
        return self._control is not None

    def hang_up(self) -> None:
        """Tell the shim that nobody wants the container any more; ``wait`` still tells when it is over."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_WR)

    def _hear(self, control: socket.socket) -> None:
        """Take the shim's message, if there is one. Several threads may wait: the first takes it for all."""
        with self._lock:
            if self._exit_code is not None:
                return
            try:
                data = control.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            # From our own shim, over a private socket.
            message: tuple[Any, ...] = marshal.loads(data) if data else ("gone",)  # noqa: S302
            if message[0] == "exited":
                _, self._end, self._written = message
                self._exit_code = self._end["exit_code"]
            else:  # the shim was killed: reading the state repairs it, once it is not there any more
                extra = state.load_extra(self.folder)
                with contextlib.suppress(TimeoutError):
                    waiting.wait_for_process(
                        extra.get("shim", 0), extra.get("shim_start", 0), time.monotonic() + state.GONE_S
                    )
                found = self.state.exit_code
                self._exit_code = 137 if found is None else found

    def _connect(self, path: str) -> Attachment:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(path)
        except OSError as error:
            stream.close()
            raise NotYet(f"the container's shim does not answer: {error.strerror}") from error
        return Attachment(stream, self.folder / log.NAME)

    def _reach(self, use: Callable[[str], _Reached]) -> _Reached:
        """Use the shim's socket. A run is on disk a moment before its shim can be asked for anything, and a moment after."""
        deadline = time.monotonic() + _OPENING_S
        while True:
            found = self.state
            if found.status == "paused":
                name = found.name or found.id
                raise Conflict(f"container {name} is paused", hint=f"'nbcontainers unpause {name}' lets it go on")
            if found.status != "running":
                raise _is_not_running(found)
            try:
                return use(state.load_extra(self.folder)["socket"])
            except NotYet:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.002)

    def _open_process(self, found: ContainerState) -> int:
        start = state.load_extra(self.folder).get("start", 0)
        pidfd = state.open_process(found.pid, start) if found.status in {"running", "paused"} else -1
        if pidfd < 0:
            raise _is_not_running(found)
        return pidfd


def logs(
    folder: Path,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Iterator[Output]:
    """What the container wrote, over all its runs, in order, with times: a line, or a piece of one, each.

    With ``tail`` only the last so many lines; with ``follow`` what comes, too, until the container has ended; only what was written
    from ``since`` on and up to ``until`` (seconds since the epoch).
    """
    path = folder / log.NAME
    begin = 0 if tail is None else last_lines(path, tail)
    live = {"creating", "running", "paused", "restarting"} if follow else set()

    def goes_on() -> bool:
        try:
            return state.load_state(folder).status in live and (until is None or time.time() < until)
        except NotFound:  # it was removed, and what it wrote has been read
            return False

    for stream, data, stamp in read_log(path, begin, goes_on=goes_on):
        at = datetime.datetime.fromisoformat(stamp).timestamp()
        if since is not None and at < since:
            continue
        if until is not None and at > until:
            return
        yield Output(data=data, stream="stderr" if stream == log.STDERR else "stdout", time=at)


def _is_not_running(found: ContainerState) -> Conflict:
    return Conflict(f"container {found.name or found.id} is not running")
