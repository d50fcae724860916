"""The name server that containers on networks ask: names of containers from memory, all others from the servers of this host.

Each container has a socket of its own on 127.0.0.11 inside its network namespace, so who asks is known by where he asks. Other
names go out by sockets that lie in the host's network, whatever way out the container has. Imports only what keeps a holder small.
Source: RFC 1035; RFC 3596 (AAAA).
"""

from __future__ import annotations

import _socket
import functools
import os
import select
import struct

from .dnsstream import Asker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .poller import Poller

    # What a guest's question for a name means: None if it is no name of ours, else the packed addresses of a family.
    Lookup = Callable[[str, int], "list[bytes] | None"]
    Reverse = Callable[[str], str]  # an address to a name of ours, or ""

ADDRESS, PORT = "127.0.0.11", 53
A, PTR, AAAA = 1, 12, 28
_TTL_S = 5
_PATIENCE_S = 2.0
_OUTGOING = 8  # sockets to ask others by: a forger has to guess which, beside its port and the number of the question
_MOST_PENDING = 1024
_MOST_FOR_ONE = 256  # of these, so that one who floods keeps no other from an answer
_MOST_BY_STREAM = 4  # at a time, of what one guest asked over TCP
_MOST_STREAMS = 16  # connections of one guest; a new one then takes the place of the oldest
_HEADER = struct.Struct("!6H")
_NO_ERROR, _MALFORMED, _FAILED, _NOT_IMPLEMENTED = 0, 1, 2, 4


class BadQuery(Exception):
    """Bytes that are not one question."""


def parse(query: bytes) -> tuple[str, int, int]:
    """The name in lower case, the type, and where the question ends."""
    if len(query) < 17 or query[2] & 0x80 or query[4:6] != b"\0\1":
        raise BadQuery
    labels: list[str] = []
    at = 12
    while size := query[at]:
        if size > 63 or at + size + 6 > len(query) or at > 12 + 255:
            raise BadQuery
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += size + 1
    return ".".join(labels), int.from_bytes(query[at + 1 : at + 3], "big"), at + 5


def reply(query: bytes, end: int, kind: int, records: Iterable[bytes], code: int = _NO_ERROR) -> bytes:
    """An answer to the question that ends there, with the data of each record."""
    flags = (
        0x8080 | int.from_bytes(query[2:4], "big") & 0x7900 | code
    )  # an answer, recursion available; what was asked for
    parts = [b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, _TTL_S, len(data)) + data for data in records]
    head = _HEADER.pack(int.from_bytes(query[:2], "big"), flags, 1, len(parts), 0, 0)
    return head + query[12:end] + b"".join(parts)


def refusal(query: bytes, code: int) -> bytes:
    """An answer to what is not one question, or asks for something else than names: its header alone."""
    return _HEADER.pack(int.from_bytes(query[:2], "big"), 0x8000 | query[2] << 8 & 0x7900 | code, 0, 0, 0, 0)


def encode(name: str) -> bytes:
    """A name as it stands in a record."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def host_servers(path: str = "/etc/resolv.conf") -> list[str]:
    """The name servers that this host asks."""
    try:
        with open(path, errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return []
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


class _Pending:
    """A question that another server was asked."""

    def __init__(self, query: bytes, guest: Guest, servers: list[str], answer: Callable[[bytes], None]) -> None:
        self.query = query
        self.guest = guest
        self.servers = servers
        self.answer = answer
        self.asked = ""
        self.timer: object = None


class Resolver:
    """Answers for all containers of a holder."""

    def __init__(self, poller: Poller) -> None:
        """Made in the host's network namespace: other servers are asked from there."""
        self._poller = poller
        self._outgoing = {
            int(family): [_socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC) for _ in range(_OUTGOING)]
            for family in (_socket.AF_INET, _socket.AF_INET6)
            if _has(family)
        }
        self._asker = Asker(poller, list(self._outgoing))
        self._pending: dict[tuple[int, int], _Pending] = {}  # by socket and number of the question
        for sockets in self._outgoing.values():
            for one in sockets:
                one.setblocking(False)
                poller.watch(one.fileno(), select.POLLIN, functools.partial(self._answered, one))

    def serve(self, udp: _socket.socket, tcp: _socket.socket, guest: Guest) -> None:
        """Answer what comes on a container's sockets, which lie in its network namespace."""
        self._poller.watch(udp.fileno(), select.POLLIN, lambda events: self._asked(udp, guest))
        self._poller.watch(tcp.fileno(), select.POLLIN, lambda events: self._accept(tcp, guest))

    def leave(self, guest: Guest, *sockets: _socket.socket) -> None:
        """Serve a guest's sockets no longer, and close them with all connections that came by them."""
        for stream in list(guest.streams):
            stream.close()
        for one in sockets:
            self._poller.forget(one.fileno())
            one.close()

    def _asked(self, udp: _socket.socket, guest: Guest) -> None:
        try:
            query, peer = udp.recvfrom(4096)
        except OSError:
            return

        def answer(data: bytes) -> None:
            try:
                udp.sendto(data, peer)
            except OSError:
                pass  # it has gone

        self._resolve(query, guest, answer)

    def _resolve(self, query: bytes, guest: Guest, answer: Callable[[bytes], None], *, by_stream: bool = False) -> None:
        if len(query) < _HEADER.size or query[2] & 0x80:
            return  # nobody asks: two servers that took each other's answers for questions would never come to an end
        if query[2] & 0x78:  # an operation other than QUERY
            answer(refusal(query, _NOT_IMPLEMENTED))
            return
        try:
            name, kind, end = parse(query)
        except (BadQuery, IndexError):
            answer(refusal(query, _MALFORMED))
            return
        if kind == PTR:
            found = guest.reverse(_reversed_address(name))
            if found:
                answer(reply(query, end, PTR, [encode(found)]))
                return
        else:
            addresses = guest.lookup(name, {A: 4, AAAA: 16}.get(kind, 0))
            if addresses is not None:
                answer(reply(query, end, kind, addresses))
                return
        if not guest.goes_out:
            answer(reply(query, end, kind, (), _FAILED))
            return
        servers = guest.servers or host_servers()
        if by_stream:
            failed = reply(query, end, kind, (), _FAILED)

            def answered(data: bytes) -> None:
                guest.by_stream -= 1
                answer(data or failed)

            if guest.by_stream >= _MOST_BY_STREAM:
                answer(failed)
                return
            guest.by_stream += 1
            self._asker.ask(query, [(one, PORT) for one in servers], answered)
        else:
            self._forward(_Pending(query, guest, list(servers), answer))

    def _forward(self, pending: _Pending) -> None:
        """Ask the next of its servers, or say that nobody knew."""
        guest = pending.guest
        while pending.servers and len(self._pending) < _MOST_PENDING and guest.pending < _MOST_FOR_ONE:
            server = pending.servers.pop(0)
            family = int(_socket.AF_INET6 if ":" in server else _socket.AF_INET)
            sockets = self._outgoing.get(family)
            if not sockets:
                continue
            chance = os.urandom(3)
            one, number = sockets[chance[0] % len(sockets)], int.from_bytes(chance[1:], "big")
            key = (one.fileno(), number)
            if key in self._pending:
                pending.servers.insert(0, server)
                continue
            try:
                one.sendto(chance[1:] + pending.query[2:], (server, PORT))
            except OSError:
                continue
            pending.asked = server
            pending.timer = self._poller.after(_PATIENCE_S, functools.partial(self._give_up, key))
            self._pending[key] = pending
            guest.pending += 1
            return
        _, kind, end = parse(pending.query)
        pending.answer(reply(pending.query, end, kind, (), _FAILED))

    def _give_up(self, key: tuple[int, int]) -> None:
        """Nobody answered in time: the next server may."""
        pending = self._pending.pop(key)
        pending.guest.pending -= 1
        self._forward(pending)

    def _answered(self, one: _socket.socket, events: int) -> None:
        try:
            data, peer = one.recvfrom(65535)
        except OSError:
            return
        if len(data) < 12:
            return
        key = (one.fileno(), int.from_bytes(data[:2], "big"))
        pending = self._pending.get(key)
        if pending is None or peer[0] != pending.asked or peer[1] != PORT:
            return
        _, _, end = parse(pending.query)
        if data[12:end].lower() != pending.query[12:end].lower():
            return
        del self._pending[key]
        pending.guest.pending -= 1
        self._poller.cancel(pending.timer)
        pending.answer(pending.query[:2] + data[2:])

    def _accept(self, tcp: _socket.socket, guest: Guest) -> None:
        try:
            descriptor, _ = tcp._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        stream = _socket.socket(fileno=descriptor)
        stream.setblocking(False)
        if len(guest.streams) >= _MOST_STREAMS:
            guest.streams[0].close()
        guest.streams.append(_Stream(stream, guest, self, self._poller))

    def resolve_stream(self, query: bytes, guest: Guest, answer: Callable[[bytes], None]) -> None:
        """A question that came over TCP: whoever is asked in turn is asked so, too."""
        self._resolve(query, guest, answer, by_stream=True)


class Guest:
    """One who asks: what names mean to it, the servers for all others (none: this host's), and whether it may ask those."""

    def __init__(self, lookup: Lookup, reverse: Reverse, servers: list[str]) -> None:
        self.lookup = lookup
        self.reverse = reverse
        self.servers = servers
        self.goes_out = True
        self.pending = 0  # its questions that another server was asked
        self.by_stream = 0  # those that were asked over TCP
        self.streams: list[_Stream] = []  # its connections, the oldest first


class _Stream:
    """A connection by which questions come, each with its length before it."""

    def __init__(self, stream: _socket.socket, guest: Guest, resolver: Resolver, poller: Poller) -> None:
        self._stream = stream
        self._guest = guest
        self._resolver = resolver
        self._poller = poller
        self._data = b""
        poller.watch(stream.fileno(), select.POLLIN, lambda events: self._read())

    def _read(self) -> None:
        try:
            data = self._stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        while len(self._data) >= 2 and len(self._data) >= (size := int.from_bytes(self._data[:2], "big")) + 2:
            query, self._data = self._data[2 : size + 2], self._data[size + 2 :]
            self._resolver.resolve_stream(query, self._guest, self._answer)
        if not data:
            self.close()

    def close(self) -> None:
        """Let go of it."""
        self._guest.streams.remove(self)
        self._poller.forget(self._stream.fileno())
        self._stream.close()

    def _answer(self, data: bytes) -> None:
        try:
            if self._stream.fileno() >= 0:
                self._stream.send(len(data).to_bytes(2, "big") + data, _socket.MSG_NOSIGNAL)
        except OSError:
            pass


def _reversed_address(name: str) -> str:
    """The address whose name is asked for: ``2.0.18.172.in-addr.arpa`` is 172.18.0.2; "" for any other name."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        return ".".join(reversed(labels[:4]))
    if name.endswith(".ip6.arpa") and len(labels) == 34:
        try:
            return _socket.inet_ntop(_socket.AF_INET6, bytes.fromhex("".join(reversed(labels[:32]))))
        except ValueError:
            return ""
    return ""


def _has(family: int) -> bool:
    try:
        _socket.socket(family, _socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
