"""Netlink sockets and messages, as much as interfaces and packet filters need.

A library would cost every holder of networks 25 MB and a fork per namespace; the format is attributes in attributes. Imports only
what keeps a holder small. Source: netlink(7), include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import _socket
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUTE, NETFILTER = 0, 12
REQUEST, ACK, EXCL, DUMP, CREATE, APPEND = 0x001, 0x004, 0x200, 0x300, 0x400, 0x800
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ROOM = 1 << 16


def attribute(kind: int, *values: bytes | str) -> bytes:
    """One attribute: text ends with a zero byte, bytes are taken as they are."""
    data = b"".join(value.encode() + b"\0" if isinstance(value, str) else value for value in values)
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | _NESTED, *attributes)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message's body, (kind, value) each."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class Netlink:
    """A socket to one part of the kernel, in the network namespace in which it was opened."""

    def __init__(self, family: int) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._sequence = 0

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """Send one request and return the body of its answer, empty where it is only acknowledged; OSError if refused."""
        return self.ask_all([(kind, flags, body)])

    def ask_all(self, messages: Sequence[tuple[int, int, bytes]], *, around: tuple[bytes, bytes] = (b"", b"")) -> bytes:
        """Send requests (kind, flags, body) at once; OSError with the first refusal. ``around`` opens and closes a batch."""
        first = self._sequence + 1
        parts = [around[0]]
        for kind, flags, body in messages:
            self._sequence += 1
            parts.append(message(kind, REQUEST | ACK | flags, body, self._sequence))
        self._socket.send(b"".join([*parts, around[1]]))
        answer, waiting, refusal = b"", set(range(first, self._sequence + 1)), 0
        while waiting:
            for kind, sequence, body in _messages(self._socket.recv(_ROOM)):
                if kind == _ERROR and (sequence in waiting or not sequence):
                    refusal = refusal or -int.from_bytes(body[:4], "little", signed=True)
                    waiting.discard(sequence)
                    if not sequence:  # the batch itself was refused
                        waiting.clear()
                elif sequence in waiting and kind != _DONE:
                    answer = body
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return answer

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all that the kernel has of a kind; OSError where it refuses."""
        self._sequence += 1
        self._socket.send(message(kind, REQUEST | DUMP, body, self._sequence))
        found: list[bytes] = []
        while True:
            for what, _, part in _messages(self._socket.recv(_ROOM)):
                if what == _DONE:
                    return found
                if what == _ERROR:
                    number = -int.from_bytes(part[:4], "little", signed=True)
                    raise OSError(number, os.strerror(number))
                found.append(part)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, sequence number and body of each message that was received at once."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def message(kind: int, flags: int, body: bytes, sequence: int) -> bytes:
    """One message with its header."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)
