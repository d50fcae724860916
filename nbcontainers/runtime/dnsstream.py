"""Names asked for over TCP: what came so is also asked on so, for the answer may be too long for a datagram.

The sockets towards other servers lie in the host's network, to which their holder cannot return to make more; so a few are made
beforehand, and one that has served is disconnected to serve again. Imports only what keeps a holder small.
Source: RFC 7766; connect(2), "dissolve the association" (AF_UNSPEC).
"""

from __future__ import annotations

import _socket
import select

from ..linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller

_SOCKETS = 8  # of each family: as many questions at once
_PATIENCE_S = 5.0


class Asker:
    """Asks other servers by connections that begin in the network namespace in which this was made."""

    def __init__(self, poller: Poller, families: list[int]) -> None:
        self._poller = poller
        kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._idle = {family: [_socket.socket(family, kind) for _ in range(_SOCKETS)] for family in families}

    def ask(self, query: bytes, servers: list[tuple[str, int]], answer: Callable[[bytes], object]) -> None:
        """Ask one server after the other until one answers; ``answer`` gets its words, or nothing where none has any."""
        while servers:
            address = servers[0][0]
            idle = self._idle.get(int(_socket.AF_INET6 if ":" in address else _socket.AF_INET))
            if idle:
                _Question(self._poller, idle, query, servers, answer, self)
                return
            servers = servers[1:]
        answer(b"")


class _Question:
    def __init__(
        self,
        poller: Poller,
        idle: list[_socket.socket],
        query: bytes,
        servers: list[tuple[str, int]],
        answer: Callable[[bytes], object],
        asker: Asker,
    ) -> None:
        self._poller, self._idle, self._asker = poller, idle, asker
        self._query, self._servers, self._answer = query, servers, answer
        self._unsent, self._data = len(query).to_bytes(2, "big") + query, b""
        self._socket = idle.pop()
        self._timer = poller.after(_PATIENCE_S, lambda: self._end(b""))
        self._socket.connect_ex(servers[0])  # what it says is heard again when it is sent to
        poller.watch(self._socket.fileno(), select.POLLOUT, lambda events: self._go_on())

    def _go_on(self) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent, _socket.MSG_NOSIGNAL) :]
                if not self._unsent:
                    self._poller.watch(self._socket.fileno(), select.POLLIN, lambda events: self._go_on())
                return
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        size = 2 + int.from_bytes(self._data[:2], "big")
        if not data or (len(self._data) > 2 and len(self._data) >= size):
            self._end(self._data[2:size] if len(self._data) >= size > 2 else b"")

    def _end(self, reply: bytes) -> None:
        self._poller.cancel(self._timer)
        self._poller.forget(self._socket.fileno())
        syscalls.disconnect(self._socket.fileno())
        self._idle.append(self._socket)
        if reply[:2] == self._query[:2]:
            self._answer(reply)
        else:
            self._asker.ask(self._query, self._servers[1:], self._answer)
