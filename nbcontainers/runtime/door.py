"""The shim's Unix socket: who comes to look at the container's streams, and who wants something done.

The first byte tells: frames of a stream (see ``streams``) or of CONTROL, which carries a marshalled dictionary whose ``do`` is
what is wanted, with descriptors beside it. What is answered is a marshalled tuple in a frame of ANSWER. The socket can only be
opened by this user. Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import select

from ..linux import rights
from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .poller import Poller

CONTROL = 6
ANSWER = 7
OPEN, NEW = ".sock", ".new"
"""How the name of a socket ends at which somebody listens, and that of one which is being made: so the kernel refuses a caller at the
former (ECONNREFUSED) only if nobody will ever listen there again.
"""


class Caller:
    """Somebody who wants something done. ``obey`` is called with each of his wishes, ``left`` when he goes."""

    def __init__(self, poller: Poller, socket: _socket.socket, obey: Callable[[Caller, dict[str, Any]], None]) -> None:
        self._poller = poller
        self._socket = socket
        self._obey = obey
        self._reader = frames.Reader()
        self.descriptors: list[int] = []  # that came along, for him who obeys to take
        self.left: Callable[[], None] = lambda: None
        poller.watch(socket.fileno(), select.POLLIN, lambda events: self._listen())

    def answer(self, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        """Tell him something short; one who does not listen is let go."""
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.sendmsg(
                [frames.frame(ANSWER, marshal.dumps(message))],
                rights.along(*descriptors or ()),
                _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT,
            )
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of him."""
        if self._socket.fileno() >= 0:
            self._poller.forget(self._socket.fileno())
            self._socket.close()
            self._drop_descriptors()
            self.left()

    def obey_with(self, obey: Callable[[Caller, dict[str, Any]], None]) -> None:
        """From now on somebody else hears his wishes."""
        self._obey = obey

    def take(self) -> list[int]:
        """The descriptors that came along; they are the taker's to close."""
        taken, self.descriptors = self.descriptors, []
        return taken

    def _listen(self) -> None:
        try:
            data, descriptors = rights.receive(self._socket.fileno())
            self.descriptors += descriptors
            for stream, body in self._reader.feed(data):
                if stream == CONTROL:
                    self._obey(self, marshal.loads(body))  # noqa: S302 - from this user's own engine
                    self._drop_descriptors()
        except BlockingIOError:
            return
        except (OSError, ValueError, EOFError, TypeError, KeyError, frames.BadFrame):
            data = b""
        if not data:
            self.close()

    def _drop_descriptors(self) -> None:
        for descriptor in self.take():
            os.close(descriptor)


class Door:
    """Where they come in."""

    def __init__(
        self,
        poller: Poller,
        path: str,
        *,
        attach: Callable[[_socket.socket], None],
        obey: Callable[[Caller, dict[str, Any]], None],
    ) -> None:
        """Open it. Without a socket (a full disk, a folder that is gone) the container runs all the same."""
        self._poller = poller
        self._path = path
        self._attach = attach
        self._obey = obey
        self._listener: _socket.socket | None = None
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        new = path.removesuffix(OPEN) + NEW
        try:
            _bind(listener, new)
            listener.listen(
                128
            )  # a busy machine comes to them late, and who may not wait (``execution.ask``) would be refused
            os.rename(new, path)  # over what a shim that was killed has left
        except OSError:
            listener.close()
            return
        finally:
            os.umask(before)
        self._listener = listener
        poller.watch(listener.fileno(), select.POLLIN, lambda events: self._accept(listener))

    def close(self) -> None:
        """Let nobody in any more."""
        if self._listener is not None:
            self._poller.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
            _remove(self._path)

    def _accept(self, listener: _socket.socket) -> None:
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        guest = _socket.socket(fileno=descriptor)
        guest.setblocking(False)
        self._poller.watch(descriptor, select.POLLIN, lambda events: self._greet(guest))

    def _greet(self, guest: _socket.socket) -> None:
        """Look at the first byte, and leave it for him who will read it."""
        try:
            first = guest.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        self._poller.forget(guest.fileno())
        if not first:
            guest.close()
        elif first[0] == CONTROL:
            Caller(self._poller, guest, self._obey)
        else:
            self._attach(guest)


def _bind(listener: _socket.socket, path: str) -> None:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _remove(path)  # left by a shim that was killed just then
        listener.bind(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
