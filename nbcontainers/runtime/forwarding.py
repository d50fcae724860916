"""Published ports: what comes to a port of the host is carried to a container, by a process of its own for each container.

The sockets that listen lie in the host's network, those that go on in the holder's, so it needs no privilege on the host. The
container sees who comes, where the kernel allows it (``sources``), else its gateway. Bytes of TCP are moved by splice(2), without
coming up here. Imports only what keeps a holder small.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import functools
import os
import select
import time

from ..linux import syscalls
from .poller import GONE, Poller
from .sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn

    # A listening socket of the host, and where to it leads: protocol, port, the container's addresses.
    Route = tuple[_socket.socket, str, int, Sequence[str]]
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

NAME = "nbc-ports"
_CHUNK = 1 << 18
_F_SETPIPE_SZ = 1031
_SPLICE_F_MOVE_NONBLOCK = 3
_IDLE_S = 90.0  # how long answers to a sender of UDP are waited for, as Docker does
_MOST_SENDERS = 512
_GRACE_S = 5.0
_PARTING_MS = 500
_ending: list[bool] = []
_open: set[object] = set()  # connections
_AGAIN = {errno.EAGAIN, errno.EINPROGRESS}


def begin(
    listening: Sequence[int], ports: Sequence[tuple[str, int]], targets: Sequence[str], sources: Sources | None
) -> _socket.socket:
    """Fork the process that carries from sockets of the host to ports (protocol, number) of a container, which has these addresses.

    Who comes by IPv6 goes to its address of IPv6 if it has one, and where nobody listens there, to the other.

    It goes by what is returned: see ``end``.
    """
    ours, far = _socket.socketpair()
    lifeline = far.detach()
    if os.fork() == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            syscalls.set_name(NAME)
            for number in map(int, os.listdir("/proc/self/fd")):
                if number > 2 and number not in {lifeline, *listening}:
                    _close(number)
            sockets = [_socket.socket(fileno=one) for one in listening]
            main([(one, *port, targets) for one, port in zip(sockets, ports, strict=True)], lifeline, sources)
        finally:
            os._exit(1)
    os.close(lifeline)
    return ours


def end(carrier: _socket.socket) -> None:
    """Have the process that ``begin`` forked take in nothing more; return when the ports of the host are free."""
    poll = select.poll()
    poll.register(carrier.fileno(), select.POLLIN)
    carrier.shutdown(_socket.SHUT_WR)
    poll.poll(_PARTING_MS)
    carrier.close()


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # the one by which the folder was read


def main(routes: Sequence[Route], lifeline: int, sources: Sources | None) -> NoReturn:
    """Carry until the lifeline's other end closes; never returns."""
    try:
        poller = Poller()
        for route in routes:
            _begin(poller, route, sources)
        poller.watch(lifeline, select.POLLIN, lambda events: _end(poller, routes, lifeline))
        while True:
            poller.turn()
            if _ending and not _open:
                os._exit(0)
    finally:
        os._exit(1)


def _end(poller: Poller, routes: Sequence[Route], lifeline: int) -> None:
    """The container is gone: nobody comes in any more, and what came out of it before still arrives."""
    for descriptor in (lifeline, *(route[0].fileno() for route in routes)):
        poller.forget(descriptor)
    for listening, _, _, _ in routes:
        listening.close()
    os.close(lifeline)
    _ending.append(True)
    poller.after(_GRACE_S, lambda: os._exit(0))


def _begin(poller: Poller, route: Route, sources: Sources | None) -> None:
    listening, protocol, _, _ = route
    listening.setblocking(False)
    if protocol == "udp":
        _Datagrams(poller, route, sources)
    else:
        poller.watch(listening.fileno(), select.POLLIN, lambda events: _accept(poller, route, sources))


def _onwards(route: Route, peer: str, sources: Sources | None) -> Iterator[_socket.socket]:
    """Sockets that are on their way to the container, one after the other, for a peer: first by the kind of address by which he came."""
    _, protocol, port, addresses = route
    is_6 = ":" in peer.removeprefix("::ffff:")
    for address in sorted(addresses, key=lambda one: (":" in one) != is_6)[: 1 + is_6]:
        family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
        kind = _socket.SOCK_DGRAM if protocol == "udp" else _socket.SOCK_STREAM
        try:
            onward = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        except OSError:  # too many files are open
            return
        if protocol != "udp":
            onward.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if sources is not None:
            sources.put(onward, peer)
        code = onward.connect_ex((address, port))
        if code and code not in _AGAIN:
            onward.close()
        else:
            yield onward


def _accept(poller: Poller, route: Route, sources: Sources | None) -> None:
    listening = route[0]
    try:
        descriptor, peer = listening._accept()  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
            time.sleep(0.05)  # until some are done
        return
    client = _socket.socket(fileno=descriptor)
    try:
        onwards = _onwards(route, peer[0], sources)
        onward = next(onwards, None)
        if onward is None:
            client.close()
        else:
            _Connection(poller, client, onward, onwards, (_Pipe(), _Pipe()))
    except OSError:  # too many files are open: what was opened for it goes with it
        client.close()


class _Connection:
    """Two sockets joined: what comes in by one goes out by the other, and an end is passed on as an end."""

    def __init__(
        self,
        poller: Poller,
        client: _socket.socket,
        onward: _socket.socket,
        others: Iterator[_socket.socket],
        pipes: tuple[_Pipe, _Pipe],
    ) -> None:
        self._poller = poller
        self._sides = (client, onward)
        self._others = others  # where to, if nobody listens there
        self._pipes = pipes
        client.setblocking(False)
        client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._connected = False
        _open.add(self)
        for number, side in enumerate(self._sides):
            poller.watch(side.fileno(), 0, functools.partial(self._move, number))
        self._watch()

    def _move(self, number: int, events: int) -> None:
        if not self._connected and number == 1 and events & (select.POLLOUT | GONE):
            if self._sides[1].getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
                self._try_another()
                return
            self._connected = True
        try:
            for source in (number, 1 - number):
                if self._connected or source == 1:
                    self._pipes[source].carry(self._sides[source].fileno(), self._sides[1 - source])
        except OSError:
            self._close(reset=True)
            return
        if all(pipe.done for pipe in self._pipes):
            self._close()
        elif events & (select.POLLERR | select.POLLNVAL):
            self._close(reset=True)
        else:
            self._watch()

    def _try_another(self) -> None:
        onward = next(self._others, None)
        if onward is None:
            self._close(reset=True)
            return
        self._poller.forget(self._sides[1].fileno())
        self._sides[1].close()
        self._sides = (self._sides[0], onward)
        self._watch()

    def _watch(self) -> None:
        for number, side in enumerate(self._sides):
            events = 0
            coming, going = self._pipes[number], self._pipes[1 - number]
            if self._connected and not coming.ended and not coming.held:
                events |= select.POLLIN
            if going.held or (not self._connected and number == 1):
                events |= select.POLLOUT
            if events:
                self._poller.watch(side.fileno(), events, functools.partial(self._move, number))
            else:
                self._poller.forget(side.fileno())  # else a peer that has hung up would wake us for ever

    def _close(self, *, reset: bool = False) -> None:
        _open.discard(self)
        for side in self._sides:
            self._poller.forget(side.fileno())
            if reset:  # who was cut off must not take it for an end
                side.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            side.close()
        for pipe in self._pipes:
            pipe.close()


class _Pipe:
    """The bytes on their way from one socket to the other, held by the kernel."""

    def __init__(self) -> None:
        self._out = self._in = -1
        self._out, self._in = os.pipe()
        try:
            fcntl.fcntl(self._in, _F_SETPIPE_SZ, _CHUNK)
        except OSError:
            pass  # the user has many pipes: a small one does, too
        self.held = 0
        self.ended = False
        self.done = False

    def __del__(self) -> None:
        self.close()

    def carry(self, source: int, target: _socket.socket) -> None:
        """Move what can be moved now."""
        while not self.done:
            moved = 0
            if not self.ended and not self.held:
                try:
                    moved = os.splice(source, self._in, _CHUNK, flags=_SPLICE_F_MOVE_NONBLOCK)
                    self.held += moved
                    self.ended = not moved
                except BlockingIOError:
                    return
            while self.held:
                try:
                    self.held -= os.splice(self._out, target.fileno(), self.held, flags=_SPLICE_F_MOVE_NONBLOCK)
                except BlockingIOError:
                    return
            if self.ended:
                self.done = True
                try:
                    target.shutdown(_socket.SHUT_WR)
                except OSError:
                    pass

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self._out, self._in):
            if descriptor >= 0:
                os.close(descriptor)
        self._out = self._in = -1


class _Datagrams:
    """One published port of UDP: each sender has a socket of its own towards the container, by which the answers come back."""

    def __init__(self, poller: Poller, route: Route, sources: Sources | None) -> None:
        self._poller = poller
        self._listening = route[0]
        self._route = route
        self._sources = sources
        self._senders: dict[Any, _Sender] = {}
        poller.watch(self._listening.fileno(), select.POLLIN, lambda events: self._take())

    def _forget_idle(self) -> None:
        """Close what nothing has come by for a while."""
        now = time.monotonic()
        for peer, sender in list(self._senders.items()):
            if now - sender.used > _IDLE_S:
                self._forget(peer)
        if self._senders:
            self._poller.after(_IDLE_S / 3, self._forget_idle)

    def _take(self) -> None:
        try:
            data, peer = self._listening.recvfrom(65535)
        except OSError:
            return
        sender = self._senders.get(peer) or self._open(peer)
        if sender is None:
            return
        sender.used, sender.last = time.monotonic(), data
        self._send(peer, sender)

    def _send(self, peer: Any, sender: _Sender) -> None:
        """Send what came last; where it turns out that nobody listens, to the container's other address, if there is one."""
        try:
            sender.onward.send(sender.last)
        except ConnectionRefusedError:
            self._try_another(peer, sender)
        except OSError:
            pass  # datagrams may be lost

    def _try_another(self, peer: Any, sender: _Sender) -> None:
        onward = next(sender.others, None)
        if onward is None:
            return  # nobody listens there (yet)
        self._poller.forget(sender.onward.fileno())
        sender.onward.close()
        sender.onward = onward
        self._watch(peer, sender)
        self._send(peer, sender)

    def _open(self, peer: Any) -> _Sender | None:
        if not self._senders:
            self._poller.after(_IDLE_S / 3, self._forget_idle)
        if len(self._senders) >= _MOST_SENDERS:
            self._forget(min(self._senders, key=lambda one: self._senders[one].used))
        onwards = _onwards(self._route, peer[0], self._sources)
        onward = next(onwards, None)
        if onward is None:
            return None
        self._senders[peer] = sender = _Sender(onward, onwards)
        self._watch(peer, sender)
        return sender

    def _watch(self, peer: Any, sender: _Sender) -> None:
        self._poller.watch(sender.onward.fileno(), select.POLLIN, lambda events: self._give_back(peer, sender))

    def _give_back(self, peer: Any, sender: _Sender) -> None:
        try:
            data = sender.onward.recv(65535)
            sender.used = time.monotonic()
            self._listening.sendto(data, peer)
        except ConnectionRefusedError:
            self._try_another(peer, sender)
        except OSError:
            pass

    def _forget(self, peer: Any) -> None:
        onward = self._senders.pop(peer).onward
        self._poller.forget(onward.fileno())
        onward.close()


class _Sender:
    """Who sends datagrams: the socket towards the container, those to its other addresses, when it was used and what for."""

    def __init__(self, onward: _socket.socket, others: Iterator[_socket.socket]) -> None:
        self.onward = onward
        self.others = others
        self.used = time.monotonic()
        self.last = b""
