"""The near end of a command that was entered into a running container (exec): its streams, its exit code.

Its pipes, or the far end of its terminal, come straight here; its shim only tells when it began and ended. It ends when this
lets go of it, unless it was started detached or is left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import marshal
import os
import select
import signal as signals
import socket
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..errors import Conflict, Detached, LaunchError
from ..events import Observer, Output, ignore
from ..linux import rights
from . import door, frames, hints, processes, terminal
from .attach import Input
from .keys import Sequence, parse
from .poller import happens

_CHUNK = 1 << 16
_PATIENCE_S = 10.0
_START_S = 60.0
LOOK_S = 1.0  # silence after which it is looked whether the shim was stopped


class NotYet(Conflict):
    """Nobody is there to be asked, or nothing runs there: not yet, or not any more. The container's state will tell which."""


def ask(path: str, wish: Mapping[str, Any], patience: float = _PATIENCE_S) -> tuple[Any, ...]:
    """Have the shim behind a socket do something short, and return its answer; OSError where nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(patience)
        caller.connect(path)
        caller.sendall(frames.frame(door.CONTROL, marshal.dumps(dict(wish))))
        _await(caller, patience)
        reader = frames.Reader()
        while data := caller.recv(_CHUNK):
            for stream, body in reader.feed(data):
                if stream == door.ANSWER:
                    answer: tuple[Any, ...] = marshal.loads(body)  # noqa: S302 - from our own shim
                    return answer
    raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _await(shim: socket.socket, patience: float) -> None:
    """Wait until the shim says something: TimeoutError where it does not in time, and soon where it was stopped (SIGSTOP)."""
    deadline = time.monotonic() + patience
    while not happens(shim.fileno(), select.POLLIN, max(0.0, min(LOOK_S, deadline - time.monotonic()))):
        if processes.is_stopped(pid := rights.peer(shim)):
            raise TimeoutError(f"nothing was heard of the command, for the container's shim, process {pid}, is stopped")
        if time.monotonic() >= deadline:
            raise TimeoutError(f"nothing was heard of the command for {patience:.0f} seconds")


class Execution:
    """A command that runs in a container; ``pid`` is this host's number for it."""

    def __init__(self, path: str, wish: dict[str, Any], *, stdin: bool) -> None:
        """Start it and return once it has been executed.

        Args:
            path: the shim's socket.
            wish: its words; see ``session``.
            stdin: give it a standard input that ``attach`` feeds.

        Raises:
            LaunchError: it could not be started, or nothing was heard of it for a minute, or of a shim that was stopped; ``exit_code``
                is Docker's 126 or 127.
            Conflict: the container is no more; NotYet where it may be only on its way.
        """
        self.pid = 0
        self.out_of_memory = False
        self._exit_code: int | None = None
        self._reader = frames.Reader()
        self._near: dict[str, int] = {}
        self._terminal = -1
        self._messages: list[tuple[Any, ...]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far: list[int] = []
        try:
            if not wish["terminal"] and not wish["detach"]:
                self._make_pipes(stdin, far)
            given = {"stdio": [stdin and bool(far), bool(far), bool(far)]}
            message = frames.frame(door.CONTROL, marshal.dumps({**wish, **given}))
            if len(message) > frames.LONGEST:
                raise LaunchError("the command and its variables are longer than 1 MiB", stage="exec", exit_code=126)
            self._socket.settimeout(_START_S)
            try:
                self._socket.connect(path)
                sent = socket.send_fds(self._socket, [message], far) if far else self._socket.send(message)
                if sent < len(message):  # else the command may be over by now, and nobody be there to send nothing to
                    self._socket.sendall(message[sent:])
            except OSError as error:
                raise NotYet(f"the container's shim does not answer: {error.strerror or error}") from error
            try:
                while not self._messages and self._exit_code is None:
                    _await(self._socket, _START_S)
                    self._hear()
            except TimeoutError as error:
                pid = rights.peer(self._socket)
                raise LaunchError(
                    str(error),
                    stage="exec",
                    exit_code=126,
                    hint=f"if its shim was stopped, 'kill -CONT {pid}' lets it go on; its memory limit may be too low to start in; "
                    "'rm --force' ends the container",
                ) from None
            self._socket.settimeout(None)
            self._begin(self._messages.pop(0) if self._messages else ("gone",))
            if (
                wish["terminal"] and not wish["detach"] and self._terminal < 0
            ):  # the kernel leaves out what there is no room for
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in far:
                os.close(descriptor)

    def attach(self, on_event: Observer = ignore, *, stdin: BinaryIO | int | None = None, detach_keys: str = "") -> int:
        """Tell the observer what it writes, feed it what is read, until it ends; return its exit code.

        Raises:
            Detached: ``detach_keys`` were read from ``stdin``; it goes on by itself.
        """
        source = None if stdin is None else Input(stdin)
        keys = Sequence(parse(detach_keys))
        pending = b""
        outputs: dict[int, Any] = {self._near[name]: name for name in ("stdout", "stderr") if name in self._near}
        if self._terminal >= 0:
            outputs[self._terminal] = "stdout"
        for descriptor in outputs:
            os.set_blocking(descriptor, False)
        while self._exit_code is None:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            for descriptor in outputs:
                poll.register(descriptor, select.POLLIN)
            into = self._near.get("stdin", self._terminal)
            if pending and into >= 0:
                poll.register(into, select.POLLOUT | (select.POLLIN if into in outputs else 0))
            elif source is not None and source.descriptor >= 0:
                poll.register(source.descriptor, select.POLLIN)
            at_once = source is not None and source.descriptor < 0 and not pending
            happened = dict(poll.poll(0 if at_once else None))
            for descriptor in [each for each in outputs if happened.get(each, 0) & ~select.POLLOUT]:
                if not self._pass_on(descriptor, outputs[descriptor], on_event):
                    del outputs[descriptor]
            if self._socket.fileno() in happened:
                self._hear()
            if pending and happened.get(into, 0):
                pending = self._write(into, pending)
            if source is not None and not pending and self._exit_code is None and source.is_ready():
                data = source.read()
                typed, leaves = keys.feed(data)
                pending = self._write(into, typed) if typed else b""
                if leaves:
                    self.leave()
                    raise Detached("the command goes on by itself")
                if not data:
                    source = None
                    self._close("stdin")
            if source is None and not pending and "stdin" in self._near and stdin is None:
                self._close("stdin")
        for (
            descriptor,
            name,
        ) in outputs.items():  # what it wrote last; what its children go on writing is not waited for
            while self._pass_on(descriptor, name, on_event, is_last=True):
                pass
        self.close()
        return self._exit_code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; what it writes meanwhile is read and forgotten.

        Raises:
            TimeoutError: it has not ended after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        outputs = [number for name, number in self._near.items() if name != "stdin"]
        outputs += [self._terminal] if self._terminal >= 0 else []
        for descriptor in outputs:
            os.set_blocking(descriptor, False)
        while self._exit_code is None:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            for descriptor in outputs:
                poll.register(descriptor, select.POLLIN)
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            happened = dict(poll.poll(left))
            if not happened:
                raise TimeoutError("the command has not ended")
            outputs = [each for each in outputs if each not in happened or self._pass_on(each, "stdout", ignore)]
            if self._socket.fileno() in happened:
                self._hear()
        return self._exit_code

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with contextlib.suppress(OSError):
            self._say({"do": "signal", "number": number})

    def resize(self, rows: int, columns: int) -> None:
        """Say how large the window is."""
        if self._terminal >= 0:
            with contextlib.suppress(OSError):
                terminal.resize(self._terminal, rows, columns)

    def leave(self) -> None:
        """Let it go on by itself; what it writes from now on is lost, as Docker has it."""
        outputs = [number for name, number in self._near.items() if name != "stdin"]
        outputs += [self._terminal] if self._terminal >= 0 else []
        message = frames.frame(door.CONTROL, marshal.dumps({"do": "leave"}))
        with contextlib.suppress(OSError):
            if outputs:
                socket.send_fds(self._socket, [message], outputs)
            else:
                self._socket.sendall(message)
            while not self._messages and self._exit_code is None:
                self._hear()
        self.close()

    def close(self) -> None:
        """Let go of it: it ends, unless it is detached or has been left."""
        self._socket.close()
        for name in list(self._near):
            self._close(name)
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_socket" in vars(self):  # there may have been no descriptor for it
            self.close()

    def _make_pipes(self, stdin: bool, far: list[int]) -> None:
        """Make the pipes, keep the near ends, and add the far ones in the order of the standard streams."""
        if stdin:
            end, self._near["stdin"] = os.pipe()
            os.set_blocking(self._near["stdin"], False)
            far.append(end)
        for name in ("stdout", "stderr"):
            self._near[name], end = os.pipe()
            far.append(end)

    def _begin(self, message: tuple[Any, ...]) -> None:
        if message[0] == "started":
            self.pid = message[1]
            return
        if message[0] == "failed":
            _, stage, number, words, code = message
            # What cannot enter it any more, or not fork there: pid_namespaces(7), on the end of a namespace's first process.
            if stage == "start" and number == errno.ESRCH:
                raise NotYet(words)
            if number == errno.ESRCH or (stage == "namespaces" and number == errno.ENOMEM):
                raise Conflict("the container ended meanwhile")
            full = "its limit of processes is used up (--pids-limit, --ulimit nproc)"
            hint = full if number == errno.EAGAIN else hints.of_exec(stage, words)
            code = (
                127 if stage == "working directory" and number == errno.ENOENT else code if code in {126, 127} else 126
            )
            raise LaunchError(f"{stage}: {words}", stage=stage, exit_code=code, hint=hint)
        raise Conflict("the container ended meanwhile")

    def _hear(self) -> None:
        """Take what the shim says; one that is gone has taken its container along."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _CHUNK, 4)
        except ConnectionResetError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            self._terminal = descriptor
        for stream, body in self._reader.feed(data):
            if stream == door.ANSWER:
                message: tuple[Any, ...] = marshal.loads(body)  # noqa: S302 - from our own shim
                if message[0] == "exited":
                    _, self._exit_code, self.out_of_memory = message
                else:
                    self._messages.append(message)
        if not data and self._exit_code is None and not self._messages:
            self._exit_code = 128 + signals.SIGKILL

    def _say(self, wish: dict[str, Any]) -> None:
        self._socket.sendall(frames.frame(door.CONTROL, marshal.dumps(wish)))

    def _pass_on(self, descriptor: int, name: Any, on_event: Observer, *, is_last: bool = False) -> bool:
        """One piece of output; False at its end (and, after the command's end, when there is none now)."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return not is_last
        except OSError:  # EIO: nobody has the terminal open inside
            return False
        if data:
            on_event(Output(data=data, stream=name))
        return bool(data)

    def _write(self, descriptor: int, data: bytes) -> bytes:
        """What was not taken."""
        try:
            return data[os.write(descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError:  # it closed its input
            return b""

    def _close(self, name: str) -> None:
        if name in self._near:
            os.close(self._near.pop(name))
